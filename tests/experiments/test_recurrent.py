"""A localisation net that is asked several times: what it warps, its gradients, a whole run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stn_np import SpatialTransformer, gradcheck, transforms
from stn_np.cli import main
from stn_np.data import load_digits
from stn_np.experiments.recurrent import GROUPS, Recurrent, RecurrentTransformer
from stn_np.layers import Flatten, Linear, Module, Sequential, Training
from stn_np.plots.run_files import read_run
from stn_np.sampling import affine_sample, grid_sample


def net(size: tuple[int, int], n_params: int, identity, spread: float = 0.02) -> Sequential:
    """One that says something else of each picture, near the identity."""
    rng = np.random.default_rng(3)
    net = Sequential(
        flatten=Flatten(), out=Linear(2 * size[0] * size[1], n_params, rng=rng, dtype=np.float64)
    )
    net.out.weight.data *= spread / np.abs(net.out.weight.data).max()
    net.out.bias.data[:] = identity
    return net


def smooth(shape: tuple[int, ...]) -> np.ndarray:
    """Pictures without the kinks that a finite difference would fall over."""
    N, C, H, W = shape
    y, x = np.meshgrid(np.linspace(0, 3, H), np.linspace(0, 2, W), indexing="ij")
    waves = np.random.default_rng(4).uniform(0.5, 1.5, (N, C, 1, 1))
    return np.sin(waves * x + y) + np.cos(waves * y * 1.3)


def transformer(steps: int, warps: str = "composed", family=None, **rules) -> RecurrentTransformer:
    family = family or transforms.Affine()
    f_loc = net((7, 9), family.n_params, family.identity)
    return RecurrentTransformer(f_loc, family, steps=steps, warps=warps, **rules)


@pytest.mark.parametrize("warps", ["composed", "resampled"])
def test_one_step_is_a_spatial_transformer(warps: str) -> None:
    U, one = smooth((3, 2, 7, 9)), transformer(1, warps)
    V, _ = one(U)
    expected, _ = SpatialTransformer(one.localisation, one.transform)(U)
    np.testing.assert_array_equal(V, expected)
    np.testing.assert_array_equal(one.theta(U), SpatialTransformer.theta(one, U))


@pytest.mark.parametrize("warps", ["composed", "resampled"])
def test_three_steps_by_hand(warps: str) -> None:
    """Square matrices in homogeneous coordinates, and one warp after the other."""
    U, three = smooth((3, 2, 7, 9)), transformer(3, warps)

    def square(theta):
        rows = np.tile([[[0.0, 0, 1]]], (len(theta), 1, 1))
        return np.concatenate([theta.reshape(-1, 2, 3), rows], axis=1)

    def warp(images, M):
        return affine_sample(images, M[:, :2].copy(), (7, 9))[0]

    product, seen = np.tile(np.eye(3), (3, 1, 1)), U
    for _ in range(3):
        step = square(three.localisation(seen)[0])
        product = product @ step
        seen = warp(U, product) if warps == "composed" else warp(seen, step)
    V, _ = three(U)
    np.testing.assert_allclose(V, seen, atol=1e-12)
    np.testing.assert_allclose(three.theta(U), product[:, :2].reshape(3, 6), atol=1e-12)
    assert np.abs(three.theta(U) - transformer(2, warps).theta(U)).max() > 1e-3


@pytest.mark.parametrize("warps", ["composed", "resampled"])
@pytest.mark.parametrize("name", GROUPS)
def test_gradients_of_picture_and_net(name: str, warps: str) -> None:
    family = transforms.by_name(name, (7, 9))
    three = transformer(3, warps, family, padding_mode="border")
    gradcheck(three, smooth((2, 2, 7, 9)))


@pytest.mark.parametrize("align_corners", [True, False])
def test_a_product_of_similarities_is_one_on_pictures_that_are_not_square(align_corners) -> None:
    """Warped by the product at once, or by one map after the other: the same places are read."""
    family = transforms.Similarity()
    twice = transformer(2, "composed", family, align_corners=align_corners)
    # Pictures that hold their own places: what is read says where.
    y, x = np.meshgrid(np.arange(7.0), np.arange(9.0), indexing="ij")
    U = np.stack([x, y])[None]
    first = twice.localisation(U)[0]
    V, _ = SpatialTransformer(twice.localisation, family, align_corners=align_corners)(U)
    second = twice.localisation(V)[0]
    corners = {"align_corners": align_corners}
    outer, _ = family(first, (7, 9), **corners)
    inner, _ = family(second, (7, 9), **corners)
    # T_first at the places of T_second: the first map is affine, so its grid can be read between.
    at_inner, _ = grid_sample(
        outer.transpose(0, 3, 1, 2).copy(), inner, padding_mode="border", **corners
    )
    product, _ = family(twice.theta(U), (7, 9), **corners)
    inside = (np.abs(inner) < 0.8).all(axis=-1)
    assert inside.sum() > 10
    found, expected = product[inside], at_inner.transpose(0, 2, 3, 1)[inside]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_all_looks_are_in_training_mode() -> None:
    calls: list = []
    f_loc = Sequential(noted=Noted(calls), net=net((7, 9), 6, transforms.Affine().identity))
    for warps in ("composed", "resampled"):
        calls.clear()
        three = RecurrentTransformer(f_loc, transforms.Affine(), steps=3, warps=warps)
        three(smooth((2, 2, 7, 9)), mode=Training(0, 3))
        assert [(call.seed, call.step) for call in calls] == [(0, 3)] * 3


class Noted(Module):
    """Notes the mode of each call."""

    uses_mode = True

    def __init__(self, calls: list) -> None:
        self.calls = calls

    def __call__(self, x, *, needs_dx=True, mode=None):
        self.calls.append(mode)
        return x, lambda dy: dy


def test_without_dx_the_parameters_get_the_same_gradients() -> None:
    U, dV = smooth((2, 2, 7, 9)), np.random.default_rng(5).normal(size=(2, 2, 7, 9))
    for warps in ("composed", "resampled"):
        found = []
        for needs_dx in (True, False):
            three = transformer(3, warps)
            three.zero_grad()
            _, backward = three(U, needs_dx=needs_dx)
            dU = backward(dV)
            assert (dU is not None) == needs_dx
            found.append([parameter.grad.copy() for parameter in three.parameters()])
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)


def test_settings_that_cannot_be() -> None:
    f_loc = net((7, 9), 6, transforms.Affine().identity)
    with pytest.raises(TypeError, match="transform: expected a family .* composed .*affine"):
        RecurrentTransformer(f_loc, transforms.by_name("tps", (7, 9)), steps=2)
    for family in (transforms.Affine3d(), transforms.Projective()):
        with pytest.raises(TypeError, match="transform: expected a family of images"):
            RecurrentTransformer(f_loc, family, steps=2)
    with pytest.raises(TypeError, match="out_shape"):
        RecurrentTransformer(f_loc, transforms.Affine(), steps=2, out_shape=(4, 5))
    with pytest.raises(ValueError, match="steps: expected at least 1, got 0"):
        RecurrentTransformer(f_loc, transforms.Affine(), steps=0)
    with pytest.raises(ValueError, match="warps: .*composed"):
        RecurrentTransformer(f_loc, transforms.Affine(), steps=1, warps="compsed")


def test_steps_cost_no_parameters() -> None:
    halves = tuple(replace(d, images=d.images[:40], labels=d.labels[:40]) for d in load_digits())
    given = {"data": "digits", "filters": 4}
    sizes = {
        Recurrent.create({**given, "steps": steps}, halves=halves).model().n_parameters()
        for steps in (1, 2, 4)
    }
    assert len(sizes) == 1


def test_a_whole_run(tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    options = "--data digits --epochs 1 --filters 4 --steps 3"
    assert main(["train", "recurrent", *options.split(), "--out", str(run)]) == 0
    results = json.loads((run / "results.json").read_text())
    assert results["distortion"] == "RTS" and results["paper_error"] is None
    files = read_run(run)
    assert "3 steps composed" in files.title
    assert (run / "transformer.gif").stat().st_size > 1000
    [warps] = files.frames.transformers.values()
    assert warps.thetas.shape[0] == 2
    capsys.readouterr()
    assert main(["train", "recurrent", "--transform", "tps", "--out", str(tmp_path / "no")]) == 2
    assert "--transform" in capsys.readouterr().err
