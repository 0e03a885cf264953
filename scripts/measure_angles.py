"""By how much a trained transformer turns each test digit, beside how far the digit was turned.

    python scripts/measure_angles.py RUN FILE.json

RUN is a run of an ST-CNN or ST-FCN under R; MNIST is where STN_NP_DATA says. Angles are in degrees,
positive is counter-clockwise, of the first 1,000 test digits. scripts/draw_results.py draws them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from stn_np import data
from stn_np.experiments import load_model, open_run
from stn_np.experiments.distorted_digits import DistortedDigits
from stn_np.experiments.upright import remaining_angles
from stn_np.training.storage import read_json, write_json

#: Test digits.
COUNT = 1000


def measure(run: Path, path: Path) -> Path:
    """Write the angles of a run to a file."""
    folder, kind, settings = open_run(run)
    if kind is not DistortedDigits or settings.distortion != "R" or "st-" not in settings.model:
        raise SystemExit(f"{run}: expected a run of a spatial transformer under R")
    results = read_json(folder.results)
    model = load_model(run)
    task = DistortedDigits(settings)
    inputs, size = task.data().inputs[:COUNT], task.image_size
    maps = data.fixed_test_theta(len(task.halves[1].images), "R", settings.test_seed, size)[:COUNT]
    theta = model.transformer.theta(inputs)
    family = model.transformer.transform
    unturned = np.tile(family.identity, (len(theta), 1))
    before, after = (
        np.rad2deg(remaining_angles(family, t, maps, inputs.shape[2:], size))
        for t in (unturned, theta)
    )
    turned_back = (before - after + 180) % 360 - 180
    found = {
        "model": settings.model,
        "transform": settings.transform,
        "test_error": results["test_error"],
        "steps": results["steps"],
        "machine": {name: results["machine"][name] for name in ("processor", "date")},
        "true": [round(float(x), 1) for x in before],
        "turned_back": [round(float(x), 1) for x in turned_back],
    }
    write_json(path, found)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("file", type=Path, help="where the angles are written to")
    options = parser.parse_args()
    print(measure(options.run, options.file))
