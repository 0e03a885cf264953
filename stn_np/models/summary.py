"""A model as a table: layers, output shapes and parameters."""

from __future__ import annotations

from typing import TypeGuard

from stn_np.backend import Array, array_module
from stn_np.layers import Module, Parallel, Sequential
from stn_np.transformer import SpatialTransformer

Rows = list[tuple[str, str, int]]


def summary(model: Module, input_shape: tuple[int, ...] | None = None) -> str:
    """Layers, output shapes and parameters as a table of plain text.

    Parameters
    ----------
    model
        Any module; of `Sequential` and `Parallel` the parts are shown.
    input_shape
        (C, H, W) of an image; by default the model's own ``input_shape``.
    """
    rows: Rows = []
    weights = model.parameters()[0].data
    shape = getattr(model, "input_shape", None) if input_shape is None else input_shape
    if shape is None:
        raise ValueError("input_shape: expected (C, H, W), since this model does not name its own")
    image = array_module(weights=weights).zeros((1, *shape), weights.dtype)
    _walk(model, image, "", rows)
    rows.append(("total", "", model.n_parameters()))
    width = max(len(title) for title, _, _ in rows)
    lines = [f"{'layer':<{width}}  {'output':>9}  {'parameters':>10}"]
    for title, text, n in rows:
        lines.append(f"{title:<{width}}  {text:>9}  {f'{n:,}' if n else '':>10}".rstrip())
    return "\n".join(lines)


def _walk(module: Module, x: Array, indent: str, rows: Rows) -> None:
    """Append a row for each layer of a module, those inside of one below it."""
    parts = zip(module.names, module, strict=True) if _is_container(module) else [("model", module)]
    for name, layer in parts:
        U, (y, _) = x, layer(x, needs_dx=False)
        inner = layer.localisation if isinstance(layer, SpatialTransformer) else layer
        kind = type(layer.transform if isinstance(layer, SpatialTransformer) else layer).__name__
        opened = _is_container(inner)
        shape = "x".join(map(str, y.shape[1:]))
        rows.append((f"{indent}{name} ({kind})", shape, 0 if opened else layer.n_parameters()))
        if opened:
            _walk(inner, U, indent + "  ", rows)
        x = U if isinstance(module, Parallel) else y


def _is_container(module: Module) -> TypeGuard[Sequential | Parallel]:
    """Whether it is made of named parts."""
    return isinstance(module, Sequential | Parallel)
