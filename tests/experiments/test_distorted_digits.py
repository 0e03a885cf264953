"""Distorted digits: how upright they come out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stn_np.data import fixed_test_set, fixed_test_theta, load_digits, warp
from stn_np.experiments.distorted_digits import DistortedDigits
from stn_np.experiments.upright import middle_half, remaining_angles
from stn_np.transforms import Affine, Projective, Similarity


@pytest.mark.parametrize("kind", ["R", "RTS"])
def test_the_maps_of_the_test_set_are_those_it_was_distorted_by(kind: str) -> None:
    _, test = load_digits()
    distorted = fixed_test_set(test, kind, 5).images
    maps = fixed_test_theta(len(test.images), kind, 5, (28, 28))
    found = warp(test.images, maps, distorted.shape[2:])
    np.testing.assert_allclose(found, distorted, atol=1e-5)


def test_angles_that_remain_after_a_known_turn() -> None:
    maps = fixed_test_theta(50, "RTS", 0, (20, 28))
    out_size = (30, 42)
    identity = np.tile(Affine().identity, (50, 1))
    before = remaining_angles(Affine(), identity, maps, out_size, (20, 28))
    assert 0.3 < np.abs(before).max() <= np.deg2rad(45) + 1e-6
    # The inverse map undoes all of it; seen through any family that holds it.
    linear = np.linalg.inv(maps[:, :, :2])
    undo = np.concatenate([linear, -linear @ maps[:, :, 2:]], axis=2).reshape(50, 6)
    eight = np.concatenate([undo, np.zeros((50, 2))], axis=1)
    for family, theta in ((Affine(), undo), (Projective(), eight)):
        after = remaining_angles(family, theta, maps, (20, 28), (20, 28))
        np.testing.assert_allclose(after, 0, atol=1e-5)
    # A quarter of a turn more, in pixels: the image is not square.
    quarter = np.tile([np.pi / 2, 1, 0, 0], (50, 1))
    turned = remaining_angles(Similarity(), quarter, maps, out_size, (20, 28))
    step = np.exp(1j * (turned - before))
    np.testing.assert_allclose(step, step[0], atol=1e-5)
    np.testing.assert_allclose(np.abs(np.angle(step)), np.pi / 2, atol=1e-5)


def test_the_middle_half() -> None:
    assert middle_half(np.deg2rad([0.0, 10, 20, 30, 40])) == pytest.approx(20)
    assert middle_half(np.deg2rad([170.0, 175, 180, -175, -170])) == pytest.approx(10)
    assert middle_half(np.zeros(3)) == 0


def test_the_figure_of_a_network_that_knows_the_angles() -> None:
    halves = tuple(replace(d, images=d.images[:80], labels=d.labels[:80]) for d in load_digits())
    one = DistortedDigits.create({"data": "digits", "transform": "affine"}, halves=halves)
    net = one.model()
    before = one.figures(net)["angles"]
    assert before["before"] == before["after"] and 70 < before["before"] < 110
    maps = fixed_test_theta(80, "R", 0, (28, 28))[:, :, :2]
    undo = np.concatenate([np.linalg.inv(maps), np.zeros((80, 2, 1))], axis=2)
    # Told image by image, in the order in which the test set comes.
    net.transformer.localisation = lambda U, needs_dx: (undo.reshape(80, 6)[: len(U)], None)
    after = one.figures(net)["angles"]
    assert after["before"] == before["before"] and after["after"] < 1e-3
    results = {"angles": after, "paper_error": None, "steps": 1, "optimizer": "sgd"}
    results |= {"test_wrong": 1, "test_images": 9, "data": "digits", "train_images": 9}
    results |= {"model": "st-cnn", "transform": "affine", "distortion": "R"}
    rows = one.summary({**results, "parameters": 1, "test_error": 1.0})
    assert dict(rows)["angles"] == f"middle half {after['before']:.0f}° → 0°"


@pytest.mark.parametrize("given", [{"model": "cnn"}, {"distortion": "P"}, {"distortion": "none"}])
def test_no_angles_where_none_are_known(given: dict) -> None:
    one = DistortedDigits.create({"data": "digits", "filters": 2, **given})
    assert one.figures(one.model()) == {}
