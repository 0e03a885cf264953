"""A model as a table: layers, output shapes and parameters."""

from __future__ import annotations

from stn_np.backend import Array, array_module
from stn_np.layers import Sequential
from stn_np.models.build import Model
from stn_np.transformer import SpatialTransformer

Rows = list[tuple[str, str, int]]


def summary(model: Model) -> str:
    """Layers, output shapes and parameters as a table of plain text."""
    rows: Rows = []
    weights = model.parameters()[0].data
    image = array_module(weights=weights).zeros((1, *model.input_shape), weights.dtype)
    _walk(model, image, "", rows)
    rows.append(("total", "", model.n_parameters()))
    width = max(len(title) for title, _, _ in rows)
    lines = [f"{'layer':<{width}}  {'output':>9}  {'parameters':>10}"]
    for title, shape, n in rows:
        lines.append(f"{title:<{width}}  {shape:>9}  {f'{n:,}' if n else '':>10}".rstrip())
    return "\n".join(lines)


def _walk(layers: Sequential, x: Array, indent: str, rows: Rows) -> None:
    """Append a row for each layer, those of a localisation net below its transformer."""
    for name, layer in zip(layers.names, layers, strict=True):
        U, (x, _) = x, layer(x, needs_dx=False)
        shape = "x".join(map(str, x.shape[1:]))
        if isinstance(layer, SpatialTransformer) and isinstance(layer.localisation, Sequential):
            family = type(layer.transform).__name__
            rows.append((f"{indent}{name} ({family})", shape, 0))
            _walk(layer.localisation, U, indent + "  ", rows)
        else:
            title = f"{indent}{name} ({type(layer).__name__})"
            rows.append((title, shape, layer.n_parameters()))
