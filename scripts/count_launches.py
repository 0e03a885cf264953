"""The launches of one training step, by name, as the stand-in for CuPy records them in a graph.

    python scripts/count_launches.py [--model st-cnn] [--batch 256]

What CuPy does with one call, and NumPy's function of that name here, counts as one launch; CuPy
makes two of a few (a sum in pieces). No GPU is needed, and no time is told.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from gpu import stand_in
from gpu.stand_in import graphs

from stn_np.gpu.devices import to_device
from stn_np.models import NAMES, build
from stn_np.training.optimizers import build_optimizer, localisation_factor
from stn_np.training.step import TrainingStep


def launches(name: str, batch: int) -> list[str]:
    """Names, in order, of all launches of a step."""
    recorded: list[graphs.Recording] = []
    start = graphs.Recording.__init__

    def noted(self: graphs.Recording, stream: graphs.Stream) -> None:
        start(self, stream)
        recorded.append(self)

    with stand_in.installed():
        model = build(name, input_shape=(1, 28, 28)).to("gpu")
        optimizer = build_optimizer("adamw", model, localisation_factor(0.1))
        rng = np.random.default_rng(0)
        images = rng.random((batch, 1, 28, 28), dtype=np.float32)
        graphs.Recording.__init__ = noted  # type: ignore[method-assign]
        try:
            step = TrainingStep(model, optimizer)
            step(to_device(images, "gpu"), to_device(np.arange(batch) % 10, "gpu"), 1e-3)
        finally:
            graphs.Recording.__init__ = start  # type: ignore[method-assign]
    return recorded[-1].names


def main() -> None:
    """Print how many of what."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=NAMES, default="st-cnn")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--in-order", action="store_true", help="every launch by itself")
    options = parser.parse_args()
    names = launches(options.model, options.batch)
    if options.in_order:
        print(*names, sep="\n")
    for name, many in Counter(names).most_common():
        print(f"{many:4}  {name}")
    print(f"{len(names):4}  in all")


if __name__ == "__main__":
    main()
