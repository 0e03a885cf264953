"""The spatial transformer: localisation net, grid generator and sampler put together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import CORNERS, PADDINGS, assert_close, assert_equal, central_slope, inner

import stn_np
from stn_np.layers import Conv2d, Flatten, Linear, Module, ReLU, Sequential
from stn_np.sampling import kernels
from stn_np.transforms import Affine, Affine3d, Attention, Projective, Similarity, ThinPlateSpline

TRANSFORMS = [Affine(), Attention(), Similarity(), Projective(), ThinPlateSpline()]
by_transform = pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.name)


def localisation(transform: Any, shape: tuple[int, int, int], seed: int = 0) -> Sequential:
    """A small net whose theta depends on the image, away from identity and from kinks."""
    rng, (C, H, W) = np.random.default_rng(seed), shape
    net = Sequential(
        conv=Conv2d(C, 3, 2, rng=rng, dtype=np.float64),
        relu=ReLU(),
        flatten=Flatten(),
        dense=Linear(3 * (H - 1) * (W - 1), transform.n_params, rng=rng, dtype=np.float64),
    )
    net.dense.weight.data *= 0.05  # type: ignore[attr-defined]
    bias = {
        "affine": [0.8, 0.15, 0.1, -0.2, 0.7, -0.05],
        "attention": [0.7, 0.1, -0.05],
        "similarity": [0.3, 0.8, 0.1, -0.05],
        "projective": [0.8, 0.15, 0.1, -0.2, 0.7, -0.05, 0.1, -0.15],
        "tps": 0.8 * transform.identity + 0.03,
    }
    net.dense.bias.data[...] = bias[transform.name]  # type: ignore[attr-defined]
    return net


def copy_of(net: Module) -> list[np.ndarray]:
    return [p.grad.copy() for p in net.parameters()]


@by_transform
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("out_shape", [None, (3, 8)])
def test_is_figure_2_of_the_paper(
    rng: Any, transform: Any, padding: str, corners: bool, out_shape: Any
) -> None:
    """Value and gradients equal the three parts chained by hand."""
    U = rng.normal(size=(3, 2, 5, 6))
    net = localisation(transform, (2, 5, 6))
    st = stn_np.SpatialTransformer(
        net, transform, out_shape, padding_mode=padding, align_corners=corners
    )
    V, backward = st(U)
    dV = rng.normal(size=V.shape)
    dU = backward(dV)
    grads = copy_of(net)
    net.zero_grad()

    theta, back_loc = net(U)
    grid, back_grid = transform(theta, out_shape or (5, 6), align_corners=corners)
    V_parts, back_V = stn_np.grid_sample(U, grid, padding_mode=padding, align_corners=corners)
    dU_direct, dgrid = back_V(dV)
    dU_through_theta = back_loc(back_grid(dgrid))
    assert_close(V, V_parts, 1e-13)
    assert_close(dU, dU_direct + dU_through_theta, 1e-12)
    assert np.abs(dU_through_theta).max() > 1e-3  # both paths count
    for p, grad in zip(net.parameters(), grads, strict=True):
        assert_close(p.grad, grad, 1e-12)
    assert_equal(st.theta(U), theta)


RULES: list[dict[str, Any]] = [
    {"mode": "bicubic", "padding_mode": "wrap"},
    {"mode": "nearest", "padding_mode": "constant", "padding_value": 0.4},
    {"mode": "bilinear", "padding_mode": "constant", "padding_value": 0.4},
    {"mode": "bilinear", "padding_mode": "wrap"},
    {"mode": (kernels.CUBIC, kernels.gaussian()), "padding_mode": "border"},
    {"grid_gradient": "linearised"},
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("transform", [Affine(), Projective()], ids=lambda t: t.name)
def test_hands_every_rule_to_the_sampler(rng: Any, transform: Any, rules: dict[str, Any]) -> None:
    U, dV = rng.normal(size=(3, 2, 5, 6)), rng.normal(size=(3, 2, 4, 3))
    net = localisation(transform, (2, 5, 6))
    V, backward = stn_np.SpatialTransformer(net, transform, (4, 3), **rules)(U)
    dU = backward(dV)
    theta, back_loc = net(U)
    grid, back_grid = transform(theta, (4, 3))
    V_parts, back_V = stn_np.grid_sample(U, grid, **rules)
    dU_direct, dgrid = back_V(dV)
    assert_close(V, V_parts, 1e-13)
    assert_close(dU, dU_direct + back_loc(back_grid(dgrid)), 1e-12)
    plain, _ = stn_np.grid_sample(U, grid)
    if rules != {"grid_gradient": "linearised"}:
        assert np.abs(V - plain).max() > 1e-3


def test_volumes(rng: Any) -> None:
    """A net that turns volumes: the parts chained by hand."""
    U, dV = rng.normal(size=(2, 1, 3, 4, 5)), rng.normal(size=(2, 1, 2, 3, 4))
    dense = Linear(60, 12, rng=rng, dtype=np.float64)
    dense.weight.data *= 0.05
    dense.bias.data[...] = 0.8 * Affine3d.identity + 0.03
    st = stn_np.SpatialTransformer(Sequential(f=Flatten(), d=dense), Affine3d(), (2, 3, 4))
    V, backward = st(U)
    dU = backward(dV)
    theta, back_loc = st.localisation(U)
    grid, back_grid = Affine3d()(theta, (2, 3, 4))
    V_parts, back_V = stn_np.grid_sample(U, grid)
    dU_direct, dgrid = back_V(dV)
    assert_equal(V, V_parts)
    assert_close(dU, dU_direct + back_loc(back_grid(dgrid)), 1e-14)
    dense.weight.data[...], dense.bias.data[...] = 0, Affine3d.identity
    assert_equal(stn_np.SpatialTransformer(st.localisation, Affine3d())(U)[0], U)
    with pytest.raises(TypeError, match=r"^out_shape: expected a triple .*got \(3, 4\)"):
        stn_np.SpatialTransformer(st.localisation, Affine3d(), (3, 4))
    with pytest.raises(ValueError, match=r"^U: expected shape \(N, C, D, H, W\)"):
        st(U[:, 0])


@by_transform
def test_central_differences_through_the_whole_transformer(rng: Any, transform: Any) -> None:
    """A smooth image keeps the sampler's kinks small: the image is linear where it is read."""
    H, W = 6, 7
    rows, cols = np.mgrid[:H, :W]
    U = np.stack([0.3 * cols - 0.2 * rows + 0.1, 0.1 * cols + 0.25 * rows - 0.3])[None] / 3
    st = stn_np.SpatialTransformer(localisation(transform, (2, H, W)), transform, (4, 3))
    g = rng.normal(size=(1, 2, 4, 3))
    st.localisation.dense.bias.data *= 0.7  # type: ignore[attr-defined]
    grid = transform(st.theta(U), (4, 3))[0]
    assert np.abs(grid).max() < 0.95  # all points inside, where the image is linear
    _, backward = st(U)
    backward(g)
    for p in st.parameters():
        v, start = rng.uniform(-1, 1, p.data.shape), p.data.copy()

        def value(x: np.ndarray, p: Any = p) -> float:
            p.data[...] = x
            return inner(st(U)[0], g)

        slope = central_slope(value, start, v)
        p.data[...] = start
        assert inner(p.grad, v) == pytest.approx(slope, rel=1e-8)


@by_transform
def test_without_dx(rng: Any, transform: Any) -> None:
    U = rng.normal(size=(2, 2, 5, 6))
    st = stn_np.SpatialTransformer(localisation(transform, (2, 5, 6)), transform)
    V, backward = st(U)
    dV = rng.normal(size=V.shape)
    backward(dV)
    full = copy_of(st)
    st.zero_grad()
    V_again, backward = st(U, needs_dx=False)
    assert_equal(V_again, V)
    assert backward(dV) is None
    for p, grad in zip(st.parameters(), full, strict=True):
        assert_equal(p.grad, grad)


@by_transform
def test_the_same_transformer_twice(rng: Any, transform: Any) -> None:
    """Nothing of a forward pass is kept on it: recurrent and Siamese use."""
    st = stn_np.SpatialTransformer(localisation(transform, (2, 5, 6)), transform)
    U1, U2, g = rng.normal(size=(3, 2, 2, 5, 6))
    (_, back1), (_, back2) = st(U1), st(U2)
    dU1, dU2 = back1(g), back2(g)
    assert_equal(dU1, st(U1)[1](g))
    assert_equal(dU2, st(U2)[1](g))
    # In series: V = st(st(U)), backward in reverse.
    V1, first = st(U1)
    _, second = st(V1)
    v = rng.normal(size=U1.shape) * 1e-7
    dU = first(second(g))
    change = inner(st(st(U1 + v)[0])[0], g) - inner(st(st(U1 - v)[0])[0], g)
    assert inner(dU, v) == pytest.approx(change / 2, rel=1e-5)


@by_transform
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_starts_at_the_identity_whatever_the_net_is_shown(
    rng: Any, transform: Any, dtype: Any
) -> None:
    regression = Linear(2 * 9 * 8, transform.n_params, rng=rng, dtype=dtype)
    regression.weight.data[...] = 0
    regression.bias.data[...] = transform.identity
    st = stn_np.SpatialTransformer(Sequential(f=Flatten(), r=regression), transform)
    U = rng.normal(size=(4, 2, 9, 8)).astype(dtype)
    V, _ = st(U)
    assert_equal(V, U)


def test_parameters_are_the_localisation_nets() -> None:
    st = stn_np.SpatialTransformer(localisation(Affine(), (1, 4, 4)), Affine())
    assert [name for name, _ in st.named_parameters()] == [
        "localisation.conv.weight", "localisation.conv.bias",
        "localisation.dense.weight", "localisation.dense.bias",
    ]  # fmt: skip


def test_empty_batch() -> None:
    st = stn_np.SpatialTransformer(localisation(Affine(), (2, 5, 6)), Affine(), (3, 4))
    V, backward = st(np.zeros((0, 2, 5, 6)))
    assert V.shape == (0, 2, 3, 4)
    assert backward(np.zeros((0, 2, 3, 4))).shape == (0, 2, 5, 6)  # type: ignore[union-attr]
    assert all((p.grad == 0).all() for p in st.parameters())


@pytest.mark.parametrize("transform_name", ["affine", "attention"])
def test_against_torch(rng: Any, transform_name: str) -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    transform = stn_np.transforms.by_name(transform_name)
    U, dV = rng.normal(size=(3, 2, 5, 6)), rng.normal(size=(3, 2, 4, 7))
    net = localisation(transform, (2, 5, 6), seed=5)
    V, backward = stn_np.SpatialTransformer(net, transform, (4, 7))(U)
    dU = backward(dV)

    u = torch.tensor(U, requires_grad=True)
    w = [torch.tensor(p.data, requires_grad=True) for p in net.parameters()]
    theta = F.linear(F.relu(F.conv2d(u, w[0], w[1])).flatten(1), w[2], w[3])
    if transform_name == "attention":
        zero = torch.zeros_like(theta[:, 0])
        s, tx, ty = theta.T
        theta = torch.stack([s, zero, tx, zero, s, ty], 1)
    grid = F.affine_grid(theta.reshape(3, 2, 3), (3, 2, 4, 7), align_corners=True)
    expected = F.grid_sample(u, grid, align_corners=True)
    expected.backward(torch.tensor(dV))
    assert_close(V, expected.detach().numpy(), 1e-12)
    assert_close(dU, u.grad.numpy(), 1e-12)
    for p, leaf in zip(net.parameters(), w, strict=True):
        assert_close(p.grad, leaf.grad.numpy(), 1e-12)


def test_the_localisation_net_is_told_the_mode(rng: Any) -> None:
    """With dropout in it theta is another one in each step of training, and none in evaluation."""
    from stn_np.layers import Dropout, Flatten, Linear, Sequential, Training

    regression = Linear(35, 6, rng=rng, dtype=np.float64)
    regression.bias.data[...] = [1, 0, 0, 0, 1, 0]
    net = Sequential(flatten=Flatten(), dropout=Dropout(0.5, rng=rng), regression=regression)
    transformer = stn_np.SpatialTransformer(net, stn_np.transforms.Affine())
    U = rng.normal(size=(2, 1, 5, 7))
    theta = net(U, mode=Training(3, 8))[0]
    expected, _ = stn_np.affine_sample(U, theta.reshape(2, 2, 3), (5, 7))
    assert_close(transformer(U, mode=Training(3, 8))[0], expected, 1e-14)
    plain = transformer(U)[0]
    assert abs(plain - expected).max() > 0.01
    assert_close(plain, stn_np.affine_sample(U, net(U)[0].reshape(2, 2, 3), (5, 7))[0], 1e-14)
