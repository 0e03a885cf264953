"""The final figures of a run, as data."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from stn_np.gpu.devices import describe_gpu
from stn_np.training.folder import RunFolder
from stn_np.training.loop import Trainer
from stn_np.training.paper import paper_error
from stn_np.training.records import read_timings, write_json

if TYPE_CHECKING:
    from stn_np.data import Dataset


def finish(trainer: Trainer, folder: RunFolder, data: Dataset) -> dict[str, Any]:
    """Write results.json, which marks the run as finished.

    Parameters
    ----------
    trainer
        With all steps made.
    folder
        The run.
    data
        The training set, for its names.

    Returns
    -------
    dict
        What was written. Everything but "machine" is the same bits for the same settings.
    """
    timings = read_timings(folder.timings)
    seconds = sum(row[2] for row in timings)
    images = sum(row[1] for row in timings) * trainer.batches.size
    results = {
        **outcome(trainer, data),
        "machine": {
            "device": "cpu" if trainer.device == "cpu" else f"gpu: CuPy {describe_gpu()}",
            "seconds": round(seconds, 1),
            "images_per_second": round(images / seconds, 1) if seconds else None,
            "peak_memory_mb": peak_memory_mb(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
    }
    write_json(folder.results, results)
    return results


def outcome(trainer: Trainer, data: Dataset) -> dict[str, Any]:
    """What was trained, and how well it does on the distorted test set."""
    config, tested = trainer.config, trainer.evaluate()
    transform = None if trainer.model.transformer is None else config.transform
    confusion = tested.confusion(len(data.class_names))
    per_class = confusion.sum(axis=1)
    wrong = per_class - confusion.diagonal()
    return {
        "data": data.name,
        "train_images": len(data.images),
        "test_images": len(trainer.test.images),
        "distortion": config.distortion,
        "model": config.model,
        "transform": transform,
        "parameters": trainer.model.n_parameters(),
        "optimizer": config.optimizer,
        "epochs": config.epochs,
        "steps": trainer.total_steps,
        "test_error": tested.error,
        "test_wrong": tested.wrong,
        "test_loss": tested.loss,
        "paper_error": paper_error(config.data, config.distortion, config.model, transform),
        "class_names": list(data.class_names),
        "class_errors": [
            100 * int(w) / int(n) if n else None for w, n in zip(wrong, per_class, strict=True)
        ],
        "confusion": confusion.tolist(),
    }


def peak_memory_mb() -> float | None:
    """The most memory that this process ever held, in MB (10^6 bytes); None if not known."""
    try:
        import resource
    except ImportError:  # Windows has no such module.
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
