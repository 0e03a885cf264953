"""Digits in volumes: the plates, the projection, a transformer that knows the turn, a whole run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from stn_np import gradcheck, grid_sample
from stn_np.cli import main
from stn_np.data import load_digits
from stn_np.experiments import open_run, volumes
from stn_np.experiments.volumes import LayersAsChannels, Projection, Volumes, askew, rotations
from stn_np.plots.cell import frame_sides
from stn_np.plots.run_files import read_run
from stn_np.training.frames import seen_from_ahead
from stn_np.transforms import Affine3d


def few(n: int = 60, **given: object) -> Volumes:
    halves = tuple(replace(d, images=d.images[:n], labels=d.labels[:n]) for d in load_digits())
    return Volumes.create({"data": "digits", "batch_size": 8, "size": 28, **given}, halves=halves)


def test_turns_are_about_x_then_y_then_z() -> None:
    turns = np.random.default_rng(0).uniform(-2, 2, (5, 3))
    np.testing.assert_allclose(
        rotations(turns), Rotation.from_euler("xyz", turns).as_matrix(), atol=1e-12
    )


def test_a_plate_stands_where_it_is_turned_and_moved_to() -> None:
    """Voxel by voxel, with SciPy, for a digit that is not square and is dark at no place."""
    images = np.random.default_rng(1).uniform(0.2, 1, (3, 1, 7, 9))
    S, rng = 13, np.random.default_rng(2)
    turns = rng.uniform(-volumes.TURN, volumes.TURN, (3, 3))
    t = rng.uniform(-volumes.SHIFT, volumes.SHIFT, (3, 3))
    made = askew(images, S, np.random.default_rng(2))
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, S)] * 3, indexing="ij")
    points = np.stack([x, y, z], axis=-1)
    for volume, image, turn, shift in zip(made, images, turns, t, strict=True):
        own = (points - shift) @ Rotation.from_euler("xyz", turn).as_matrix()  # R^T (p - t)
        at = (own[..., 1] / volumes.SIDE + 1) * 3, (own[..., 0] / volumes.SIDE + 1) * 4
        digit = map_coordinates(image[0], at, order=1, mode="grid-constant")
        within = np.clip((volumes.THICKNESS - abs(own[..., 2])) * (S - 1) / 2 + 0.5, 0, 1)
        np.testing.assert_allclose(volume[0], digit * within, atol=1e-6)
        assert (volume > 0).sum() > 50


def test_shifts_reach_their_bounds_and_not_further() -> None:
    solid = np.ones((40, 1, 5, 5))
    centres = []
    for volume in askew(solid, 25, np.random.default_rng(3))[:, 0]:
        weights = volume / volume.sum()
        axis = np.linspace(-1, 1, 25)
        centres.append([(weights.sum(axis=tuple({0, 1, 2} - {k})) * axis).sum() for k in range(3)])
    reach = np.abs(centres).max(axis=0)
    assert (reach < volumes.SHIFT + 0.06).all() and (reach > 0.7 * volumes.SHIFT).all()


@pytest.mark.parametrize(("layer", "shape"), [(Projection(), (2, 3, 5, 4, 6))])
def test_the_projection_is_a_sum_over_depth(layer, shape) -> None:
    x = np.random.default_rng(4).normal(size=shape)
    y, _ = layer(x)
    np.testing.assert_allclose(y, x.sum(axis=2) / (volumes.THICKNESS * 5))
    gradcheck(layer, x)


def test_layers_as_channels_are_the_same_numbers() -> None:
    x = np.random.default_rng(5).normal(size=(2, 1, 5, 4, 6))
    np.testing.assert_array_equal(LayersAsChannels()(x)[0], x[:, 0])
    gradcheck(LayersAsChannels(), x)


def test_a_transformer_that_knows_the_turn_shows_the_digit_from_ahead(monkeypatch) -> None:
    images = few().halves[0].images[:4].astype(np.float64)
    U = askew(images, 48, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    turns = rng.uniform(-volumes.TURN, volumes.TURN, (4, 3))
    t = rng.uniform(-volumes.SHIFT, volumes.SHIFT, (4, 3, 1))
    theta = np.concatenate([rotations(turns), t], axis=2).reshape(4, 12)
    V, _ = grid_sample(U, Affine3d()(theta, U.shape[2:])[0])
    seen, _ = Projection()(V)
    monkeypatch.setattr(volumes, "TURN", 0.0)
    monkeypatch.setattr(volumes, "SHIFT", 0.0)
    upright, _ = Projection()(askew(images, 48, rng))
    askew_too, _ = Projection()(U)

    def alike(a, b):
        return [np.corrcoef(p.ravel(), q.ravel())[0, 1] for p, q in zip(a, b, strict=True)]

    assert min(alike(seen, upright)) > 0.97
    assert max(alike(askew_too, upright)) < 0.8


def test_batches_are_a_pure_function_of_the_step_and_the_test_set_of_nothing() -> None:
    one, other = few(seed=3), few(seed=3)
    later = other.batch(5)
    for found, expected in zip(other.batch(2), one.batch(2), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(later[0], one.batch(2)[0])
    assert one.batch(2)[0].shape == (8, 1, 28, 28, 28)
    np.testing.assert_array_equal(one.data().inputs, few(seed=4).data().inputs)


def test_both_models_have_as_many_parameters() -> None:
    for filters in (8, 32):
        a, b = (few(model=m, filters=filters).model().n_parameters() for m in ("cnn", "st-cnn"))
        assert abs(a - b) < 0.1 * b


def test_the_box_is_seen_from_ahead() -> None:
    """A turn by 60 degrees about the vertical axis: the front becomes half as wide."""
    c, s = 0.5, np.sqrt(0.75)
    theta = np.array([[c, 0, s, 0, 0, 1, 0, 0, -s, 0, c, 0]])
    upper, right, lower, left, *rest = frame_sides(Affine3d(), theta, (9, 13), (5, 4))
    x = 6 * (1 + np.array([-c - s, c - s]))  # of corners (-1, y, -1) and (1, y, -1)
    np.testing.assert_allclose(upper[0], [[x[0], 0], [x[1], 0]])
    np.testing.assert_allclose(right[0], [[x[1], 0], [x[1], 8]])
    np.testing.assert_allclose(lower[0], [[x[1], 8], [x[0], 8]])
    np.testing.assert_allclose(left[0], [[x[0], 8], [x[0], 0]])
    behind = 6 * (1 + np.array([-c + s, c + s]))
    assert np.isnan(rest[0][0, 0]).all()
    np.testing.assert_allclose(rest[0][0, 1:3], [[behind[0], 0], [behind[1], 0]])
    assert len(rest) == 5
    for edge, (low, high) in zip(rest[1:], ((0, 0), (1, 0), (1, 8), (0, 8)), strict=True):
        np.testing.assert_allclose(edge[0, 1:], [[x[low], high], [behind[low], high]])


def test_what_is_recorded_of_volumes_is_seen_from_ahead() -> None:
    volumes_ = np.random.default_rng(8).uniform(0, 1, (2, 1, 3, 4, 5))
    volumes_[1] = 0
    seen = seen_from_ahead(volumes_)
    sums = volumes_[0].sum(axis=1)
    np.testing.assert_allclose(seen[0], sums / sums.max())
    assert seen.shape == (2, 1, 4, 5) and not seen[1].any()


def test_a_large_test_set_is_cut_and_made_in_blocks(monkeypatch) -> None:
    whole = few().data().inputs
    monkeypatch.setattr(volumes, "BLOCK", 7)
    np.testing.assert_array_equal(few().data().inputs, whole)
    monkeypatch.setattr(volumes, "N_TESTED", 10)
    one = few()
    assert one.data().inputs.shape[0] == len(one.data().targets) == 10
    assert "10 test digits" in one.headline()
    # It has random numbers of its own.
    images = one.halves[1].images[:10]
    other = askew(images, 28, np.random.default_rng(one.settings.test_seed))
    assert not np.array_equal(one.data().inputs, other)


def test_a_whole_run(tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    options = "--data digits --size 28 --epochs 1 --filters 4"
    assert main(["train", "volumes", *options.split(), "--out", str(run)]) == 0
    assert "it shows pictures, and no errors" in capsys.readouterr().out
    results = json.loads((run / "results.json").read_text())
    assert (results["test_images"], results["size"]) == (355, 28)
    files = read_run(run)
    assert files.title == "ST-CNN (affine3d) · digits, volumes"
    frames = files.frames
    assert frames.images.shape[1:] == (1, 28, 28) and frames.images.max() == 1
    with Image.open(run / "transformer.png") as picture:
        assert picture.size[0] > 500
    assert open_run(run)[1] is Volumes
    assert main(["eval", str(run)]) == 0
    assert f"{results['test_error']:.2f} %" in capsys.readouterr().out
    assert main(["predict", str(run), str(run / "transformer.png")]) == 2
    assert "expected a run of distorted-digits" in capsys.readouterr().err
    assert main(["train", "volumes", "--channels", "3", "--out", str(tmp_path / "no")]) == 2
    assert "--channels: expected 1" in capsys.readouterr().err
    assert main(["train", "volumes", "--size", "65", "--out", str(tmp_path / "no")]) == 2
    assert "--size: expected at most 64, got 65" in capsys.readouterr().err
