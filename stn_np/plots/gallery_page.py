"""What both sheets of the gallery are made of: a page measured from its top, and the digit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from stn_np.data import digits
from stn_np.plots.style import INK, SMALL, new_figure
from stn_np.sampling import grid_sample
from stn_np.transforms import affine_grid

#: Width of a page and its margin, in inches.
WIDTH, MARGIN = 6.4, 0.2

#: The colour of a digit under lines, which would not be seen on black; and the value that has it
#: with all of them shown from 0, white, to that value.
STROKE, STROKE_END = "#555555", 1.5

#: From one line of small text to the next, in inches.
LINE = 0.195


class Page:
    """A white page on which things lie at (x, y) inches from its upper left corner.

    Parameters
    ----------
    height
        In inches; the width is `WIDTH`.
    """

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure = new_figure(WIDTH, height)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Make axes whose upper left corner is at (x, y)."""
        bottom = (self.height - y - height) / self.height
        return self.figure.add_axes((x / WIDTH, bottom, width / WIDTH, height / self.height))

    def text(
        self, x: float, y: float, text: str, colour: str = INK, size: float = SMALL, **style: Any
    ) -> None:
        """Write a line of text that stands on y."""
        self.figure.text(x / WIDTH, 1 - y / self.height, text, color=colour, fontsize=size, **style)

    def lines(self, x: float, y: float, text: str, colour: str = INK) -> None:
        """Write several lines, the first of which stands on y."""
        for k, line in enumerate(text.splitlines()):
            self.text(x, y + k * LINE, line, colour)


def embedded_five() -> NDArray[np.float64]:
    """The 8 x 8 pixels of a five among the embedded digits, from 0 to 1: (1, 1, 8, 8)."""
    counts, labels = digits.read_digits()
    five = counts[labels == 5][3]  # a clear one, with a long bar that says what is up and right
    image: NDArray[np.float64] = five[None, None].astype(np.float64) / digits.INK
    return image


def enlarged(U: NDArray[Any], size: int, share: float) -> NDArray[np.float64]:
    """Enlarge an image smoothly, with clear edges and blank paper round it.

    Parameters
    ----------
    U
        (1, 1, h, h).
    size
        Side of the result, in pixels.
    share
        How much of that side the image itself takes.
    """
    theta = np.array([[[1 / share, 0, 0], [0, 1 / share, 0]]])
    grid, _ = affine_grid(theta, (size, size), align_corners=False)
    V, _ = grid_sample(U, grid, mode="bicubic", align_corners=False)
    return np.clip((V - 0.3) / 0.4, 0, 1)  # more contrast than the blurred edges have


def require_all(what: str, shown: Iterable[str], known: Iterable[str]) -> None:
    """Refuse to draw a gallery in which something is missing, or that shows what is not there."""
    missing, unknown = sorted(set(known) - set(shown)), sorted(set(shown) - set(known))
    if missing or unknown:
        raise ValueError(
            f"gallery: expected every {what} once; without an example: {missing}, "
            f"not in the library: {unknown}"
        )
