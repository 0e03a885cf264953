"""The gallery's part on padding: what a sampler finds outside the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stn_np.plots.drawing import show_image
from stn_np.plots.gallery_page import (
    LINE,
    MARGIN,
    Page,
    embedded_five,
    enlarged,
    require_all,
)
from stn_np.plots.style import BLUE, DPI, TEXT
from stn_np.sampling import PADDING_MODES, grid_sample
from stn_np.transforms import affine_grid

#: Pixels of the image, and how many images wide the view is.
SIZE, SCALE = 32, 3
#: Each pixel is so many pixels of the PNG wide; so the side of a picture, in inches.
ENLARGED = 3
SIDE, GAP = SIZE * SCALE * ENLARGED / DPI, 0.12

#: What each rule puts there, with padding_value where there is one.
RULES = {
    "zeros": ("0, as in the paper", 0.0),
    "constant": ("a value, here 0.4", 0.4),
    "border": ("the nearest pixel", 0.0),
    "reflection": ("mirror images", 0.0),
    "wrap": ("the image again", 0.0),
}

#: Stands in the place after the last picture.
GRADIENT = """\
Gradient to the grid
outside the image:
zeros, constant: none;
border: along the edge;
reflection, wrap: as inside,
mirrored or repeated."""

COLUMNS, HEAD, DOWN = 3, 0.42, SIDE + 0.6
HEIGHT = HEAD + -(-(len(RULES) + 1) // COLUMNS) * DOWN


def draw_paddings(page: Page, y: float) -> None:
    """Draw the block.

    Parameters
    ----------
    page, y
        Where.

    Raises
    ------
    ValueError
        If a rule has no example.
    """
    require_all("padding", RULES, PADDING_MODES)
    text = "Paddings: a grid three times as wide as the image (blue)"
    page.text(MARGIN, y + 0.26, text, size=TEXT)
    U = framed_five()
    for place, (name, (text, value)) in enumerate(RULES.items()):
        row, column = divmod(place, COLUMNS)
        x, top = MARGIN + column * (SIDE + GAP), y + HEAD + row * DOWN
        V = seen_from_afar(U, name, value)
        axes = page.axes(x, top, SIDE, SIDE)
        show_image(axes, V[0, 0])
        a, b = SIZE - 0.5, 2 * SIZE - 0.5  # the image's edges
        axes.plot([a, b, b, a, a], [a, a, b, b, a], color=BLUE, lw=1.6)
        page.text(x, top + SIDE + 0.18, name, size=TEXT, fontweight="bold")
        page.text(x, top + SIDE + 0.18 + LINE, text)
    row, column = divmod(len(RULES), COLUMNS)
    page.lines(MARGIN + column * (SIDE + GAP), y + HEAD + row * DOWN + 0.14, GRADIENT)


def framed_five() -> NDArray[np.float64]:
    """The five on a ground that gets darker to the lower right: so its edges are not blank."""
    ramp = np.linspace(0.05, 0.3, SIZE)
    ground = (ramp + ramp[:, None]) / 2
    return np.maximum(enlarged(embedded_five(), SIZE, 0.95), ground)


def seen_from_afar(U: NDArray[np.float64], padding: str, value: float) -> NDArray[np.float64]:
    """The image (1, 1, SIZE, SIZE) with as much on each side as it is wide."""
    size = SIZE * SCALE
    grid, _ = affine_grid(SCALE * np.eye(2, 3)[None], (size, size), align_corners=False)
    V, _ = grid_sample(U, grid, padding_mode=padding, padding_value=value, align_corners=False)
    return V
