"""What `digests.py` records of single operations: seeded cases, and a digest of every result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

import stn_np
from stn_np import data, layers, transforms
from stn_np.sampling import kernels

#: The name of a result, and its digest.
Entry = tuple[str, str]

CORNERS = {True: "aligned", False: "not aligned"}
FLOATS = ("float16", "float32", "float64")
PADDINGS = ("zeros", "constant", "border", "reflection", "wrap")
MODES: dict[str, Any] = {
    **{name: name for name in ("bilinear", "nearest", "bicubic")},
    **{"gaussian": kernels.gaussian(), "lanczos": kernels.lanczos(), "area": kernels.area(2.5)},
    "one an axis": (kernels.area(2), kernels.lanczos(2), kernels.gaussian(0.7)),
}


def digest(value: Any) -> str:
    """Stands for bytes or an array; a gradient that was not asked for is "none"."""
    if value is None:
        return "none"
    if not isinstance(value, bytes):
        x = np.asarray(value)
        if x.dtype.kind == "f":  # which NaN comes out of a sum is an accident
            x = np.where(np.isnan(x), x.dtype.type(np.nan), x)
        value = f"{x.dtype.str}{x.shape}".encode() + x.tobytes()
    return hashlib.sha256(value).hexdigest()[:16]


def digests(case: str, names: str, values: Any) -> Iterator[Entry]:
    """One entry for each of some results of a case; the names stand in one string."""
    for name, value in zip(names.split(), values, strict=True):
        yield f"{case}/{name}", digest(value)


def rng_for(case: str) -> np.random.Generator:
    """Random numbers of its own for each case, so that one more changes no other."""
    return np.random.default_rng(list(case.encode()))


def normal_like(rng: np.random.Generator, x: Any) -> Any:
    """An upstream gradient for x."""
    return rng.normal(size=x.shape).astype(x.dtype)


def sampler() -> Iterator[Entry]:
    """200 cases, every fifth of `affine_sample`."""
    for i in range(200):
        rng = rng_for(f"sampler {i}")
        large = i % 13 == 0  # more points than the sampler takes at a time
        yield from _affine_case(i, rng, large) if i % 5 == 4 else _grid_case(i, rng, large)


def _grid_case(i: int, rng: np.random.Generator, large: bool) -> Iterator[Entry]:
    """One call of `grid_sample`, forwards and backwards.

    Each mode with a name meets each padding in two and in three dimensions; the rest is drawn.
    """
    n = 3 if i // 25 % 3 == 2 else 2
    mode = list(MODES)[i % 5] if i % 5 < 3 else rng.choice(list(MODES))
    where = rng.choice(["inside", "across the border", "far", "identity"], p=[0.2, 0.5, 0.15, 0.15])
    rules = _rules(rng, PADDINGS[i // 5 % 5])
    N, size = int(rng.integers(1, 4)), _size(rng, n)
    U, N_grid = _image(rng, N, size), N if rng.random() < 0.75 else 1
    out = _size(rng, n)
    if large:
        where, out = "across the border", (260, 270) if n == 2 else (40, 45, 50)
    if where == "identity":
        theta = np.repeat(np.eye(n, n + 1)[None], N_grid, axis=0)
        grid, _ = stn_np.affine_grid(theta, size, align_corners=rules["align_corners"])
    else:
        width = {"inside": 0.9, "across the border": 1.5, "far": 10 ** rng.uniform(1, 30)}[where]
        grid = rng.uniform(-width, width, (N_grid, *out, n))
    with np.errstate(over="ignore"):  # far away is infinite in half precision
        grid = grid.astype(rng.choice(FLOATS))
    linearised = mode == "bilinear" and where != "far" and rng.random() < 0.25
    if not linearised and rng.random() < 0.15:
        where += ", not finite"
        for x in (U, grid):
            x[tuple(rng.integers(0, x.shape))] = rng.choice([np.nan, np.inf, -np.inf])
    gradient = "linearised" if linearised else "exact"
    needs: dict[str, Any] = {"needs_dU": rng.random() > 0.1, "needs_dgrid": rng.random() > 0.1}
    V, backward = stn_np.grid_sample(
        U,
        grid,
        mode=MODES[mode][:n] if isinstance(MODES[mode], tuple) else MODES[mode],
        grid_gradient=gradient,
        **rules,
        **needs,
    )
    case = f"{i:03d} {mode}, {_text(rules)}, {n}-D, {U.dtype}, {grid.dtype}, {where}, {gradient}"
    yield from digests(case, "V dU dgrid", (V, *backward(normal_like(rng, V))))


def _affine_case(i: int, rng: np.random.Generator, large: bool) -> Iterator[Entry]:
    """One call of `affine_sample`, forwards and backwards."""
    rules, N = _rules(rng, PADDINGS[i // 5 % 4]), int(rng.integers(1, 4))
    U = _image(rng, N, _size(rng, 2))
    out = (260, 270) if large else _size(rng, 2)
    spread = rng.choice([0, 0.5, 100])
    theta = np.eye(2, 3) + spread * rng.normal(size=(N if rng.random() < 0.75 else 1, 2, 3))
    theta = theta.astype(rng.choice(FLOATS))
    if rng.random() < 0.1:
        theta[0, 0, 2] = rng.choice([np.nan, np.inf])
    needs: dict[str, Any] = {"needs_dU": rng.random() > 0.1, "needs_dtheta": rng.random() > 0.1}
    V, backward = stn_np.affine_sample(U, theta, out, **rules, **needs)
    case = f"{i:03d} affine_sample, {_text(rules)}, {U.dtype}, {theta.dtype}, spread {spread:g}"
    yield from digests(case, "V dU dtheta", (V, *backward(normal_like(rng, V))))


def _rules(rng: np.random.Generator, padding: str) -> dict[str, Any]:
    """How to read outside the image, and where its corners are."""
    value = float(rng.normal()) if padding == "constant" else 0.0
    corners = bool(rng.random() < 0.5)
    return {"padding_mode": padding, "padding_value": value, "align_corners": corners}


def _size(rng: np.random.Generator, n: int) -> Any:
    """A small image or volume; axes of one pixel are among them."""
    return tuple(int(s) for s in rng.integers(1, 10 if n == 2 else 6, n))


def _text(rules: dict[str, Any]) -> str:
    return f"{rules['padding_mode']}, {CORNERS[rules['align_corners']]}"


def _image(rng: np.random.Generator, N: int, size: tuple[int, ...]) -> Any:
    """Up to three channels; now and then one for the batch, or with the batch last in memory."""
    N, C = N if rng.random() < 0.75 else 1, int(rng.integers(1, 4))
    U = rng.normal(size=(N, C, *size)).astype(rng.choice(FLOATS))
    return _batch_last(U) if rng.random() < 0.25 else U


def _batch_last(x: Any) -> Any:
    """The same array in another order in memory."""
    return np.moveaxis(np.moveaxis(x, 0, -1).copy(), -1, 0)


def families() -> Iterator[Entry]:
    """Grids and gradients of all families at two sizes, and their groups."""
    pairs: list[tuple[str, Any]] = [("affine3d", s) for s in ((3, 4, 5), (6, 2, 3))]
    pairs += [(name, size) for name in transforms.FAMILIES for size in ((7, 9), (12, 5))]
    for name, size in pairs:
        images = name != "affine3d"
        family: Any = transforms.by_name(name, size) if images else transforms.Affine3d()
        for dtype, corners in ((d, c) for d in FLOATS for c in CORNERS):
            if name == "linear-basis" and not corners:  # made for aligned corners
                continue
            case = f"{name}, {'x'.join(map(str, size))}, {dtype}, {CORNERS[corners]}"
            rng = rng_for(case)
            noise = 0.1 * rng.normal(size=(2, 3, family.n_params))
            theta, inner = (family.identity + noise).astype(dtype)
            grid, backward = family(theta, size, align_corners=corners)
            yield from digests(case, "grid dtheta", (grid, backward(normal_like(rng, grid))))
            if hasattr(family, "compose"):
                rules = {"out_shape": size[-2:], "align_corners": corners}
                both, backward = family.compose(theta, inner, **rules)
                results = (both, *backward(normal_like(rng, both)))
                yield from digests(f"{case}/compose", "theta douter dinner", results)
                inverse, backward = family.inverse(theta, **rules)
                results = (inverse, backward(normal_like(rng, inverse)))
                yield from digests(f"{case}/inverse", "theta dtheta", results)


def all_layers() -> Iterator[Entry]:
    """Every layer with images in both orders in memory."""
    backward: Any
    for dtype in ("float32", "float64"):
        rng = rng_for(f"layers {dtype}")

        def draw(*shape: int, rng: Any = rng, dtype: str = dtype) -> Any:
            return rng.normal(size=shape).astype(dtype)

        for order, reorder in (("batch first", np.copy), ("batch last", _batch_last)):
            x, end = reorder(draw(5, 3, 14, 11)), f", {order}, {dtype}"
            weight, bias = draw(4, 3, 5, 3), draw(4)
            for needs_dx in (True, False):
                y, backward = layers.conv2d(x, weight, bias, needs_dx=needs_dx)
                results = (y, *backward(draw(*y.shape)))
                case = f"conv2d{end}, needs_dx={needs_dx}"
                yield from digests(case, "y dx dweight dbias", results)
            for pool in (layers.max_pool2d, layers.avg_pool2d):
                for k, stride, ceil in ((2, 2, False), (2, 2, True), (3, 2, False), (3, 2, True)):
                    y, backward = pool(x, k, stride, ceil_mode=ceil)
                    case = f"{pool.__name__}{end}, k={k}, stride={stride}, ceil_mode={ceil}"
                    yield from digests(case, "y dx", (y, backward(draw(*y.shape))))
            y, backward = layers.relu(x)
            yield from digests(f"relu{end}", "y dx", (y, backward(draw(*y.shape))))
        y, backward = layers.linear(draw(6, 9), draw(5, 9), draw(5), needs_dx=True)
        results = (y, *backward(draw(*y.shape)))
        yield from digests(f"linear, {dtype}", "y dx dweight dbias", results)
        loss, backward = layers.cross_entropy(10 * draw(7, 10), rng.integers(0, 10, 7))
        yield from digests(f"cross_entropy, {dtype}", "loss dlogits", (loss, backward(0.7)))


def distortions() -> Iterator[Entry]:
    """The digits as they are, then distorted."""
    train, test = data.load_digits()
    halves = (train.images, train.labels, test.images, test.labels)
    yield from digests("digits", "train_images train_labels test_images test_labels", halves)
    for kind in ("none", "R", "RTS", "P", "E", "TC"):
        for dtype in ("float32", "float64"):
            images = data.distort(train.images[:64].astype(dtype), kind, rng_for(f"distort {kind}"))
            yield f"{kind}, {dtype}", digest(images)
        yield f"{kind}, test set", digest(data.fixed_test_set(test, kind, 0).images)
