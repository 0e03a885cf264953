"""Training: optimisers, schedules, the loop, checkpoints and run folders."""
