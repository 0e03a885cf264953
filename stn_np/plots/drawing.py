"""Images and grids on matplotlib's axes: what the notebooks and the gallery draw with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stn_np.backend import to_numpy
from stn_np.checks import check_size, check_size_pair
from stn_np.plots.style import BLUE, INK, RULE, TEXT, VERMILION


def in_pixels(
    points: Any, size: tuple[int, int], *, align_corners: bool = True
) -> NDArray[np.float64]:
    """Normalised points in pixels, as the sampler reads them and as matplotlib draws images.

    Parameters
    ----------
    points
        (..., 2), last axis (x, y), in [-1, 1].
    size
        (H, W) of the image.
    align_corners
        As in `stn_np.grid_sample`: whether -1 and +1 are the centres or the outer edges of the
        outermost pixels.

    Returns
    -------
    NDArray
        (..., 2) in float64; the centre of the uppermost pixel on the left is (0, 0).

    Raises
    ------
    TypeError, ValueError
        If points are no pairs, or size is no pair of positive whole numbers.
    """
    points, size = np.asarray(to_numpy(points), np.float64), check_size_pair("size", size)
    if points.shape[-1:] != (2,):
        raise ValueError(f"points: expected shape (..., 2), got {points.shape}")
    extent = np.array([size[1], size[0]], np.float64)
    if align_corners:
        return np.asarray((points + 1) * (extent - 1) / 2)
    return np.asarray(((points + 1) * extent - 1) / 2)


def show_image(
    axes: Axes,
    image: Any,
    *,
    title: str = "",
    field: float = 0.5,
    cmap: str | Colormap = "gray_r",
    vmin: float = 0,
    vmax: float = 1,
) -> None:
    """Show an image, with a thin line where it ends.

    Parameters
    ----------
    axes
        Where.
    image
        (H, W), or (H, W, 3) in colour, of NumPy or CuPy.
    title
        Written above it.
    field
        How much to show round it, in image sizes to each side of its centre; 0.5 is the image.
    cmap
        matplotlib's colours.
    vmin
        The value at their lower end; by default 0 is paper.
    vmax
        The value at their upper end; by default 1 is ink.

    Raises
    ------
    ValueError
        If image has another shape, or no pixels.
    """
    image = np.asarray(to_numpy(image))
    if image.ndim < 2 or image.shape[2:] not in ((), (3,)) or image.size == 0:
        raise ValueError(f"image: expected shape (H, W) or (H, W, 3), got {image.shape}")
    H, W = image.shape[:2]
    axes.imshow(image, cmap=cmap, vmin=vmin, vmax=vmax, interpolation="nearest")
    axes.set_xlim((W - 1) / 2 - field * W, (W - 1) / 2 + field * W)
    axes.set_ylim((H - 1) / 2 + field * H, (H - 1) / 2 - field * H)
    axes.set_axis_off()
    outline = np.array([(0, 0), (W, 0), (W, H), (0, H), (0, 0)]) - 0.5
    axes.plot(*outline.T, color=RULE, linewidth=0.8, clip_on=False)
    if title:
        axes.set_title(title, fontsize=TEXT, color=INK)


def draw_frame(axes: Axes, points: Any) -> None:
    """Draw the outline of a grid; its upper side is thicker, and vermilion.

    Parameters
    ----------
    axes
        Where.
    points
        (H', W', 2), last axis (x, y), in the units of the axes: see `in_pixels`.

    Raises
    ------
    ValueError
        If points have another shape.
    """
    points = _as_grid(points)
    frame = np.concatenate([points[:, -1], points[-1, ::-1], points[::-1, 0]])
    axes.plot(*frame.T, color=BLUE, lw=1.6, clip_on=False)
    axes.plot(*points[0].T, color=VERMILION, lw=3, solid_capstyle="butt", clip_on=False)


def draw_grid(axes: Axes, points: Any, *, step: int = 1) -> None:
    """Draw every `step`-th row and column of a grid as a line, and its frame.

    Parameters
    ----------
    axes, points
        As in `draw_frame`.
    step
        From one line to the next, in points.

    Raises
    ------
    TypeError, ValueError
        If points are no grid, or step no positive whole number.
    """
    points, step = _as_grid(points), check_size("step", step)
    for k in range(0, points.shape[0], step):
        axes.plot(*points[k].T, color=BLUE, lw=0.8)
    for k in range(0, points.shape[1], step):
        axes.plot(*points[:, k].T, color=BLUE, lw=0.8)
    draw_frame(axes, points)


def _as_grid(points: Any) -> NDArray[Any]:
    """Points of one grid, as NumPy's array."""
    grid: NDArray[Any] = np.asarray(to_numpy(points))
    if grid.ndim != 3 or grid.shape[2] != 2 or grid.size == 0:
        hint = "; one of a batch is grid[0]" if grid.ndim == 4 else ""
        raise ValueError(f"points: expected shape (H', W', 2), got {grid.shape}{hint}")
    return grid


def show_images(
    images: Sequence[Any],
    titles: Sequence[str] = (),
    *,
    height: float = 1.6,
    **style: Any,
) -> Figure:
    """Show images side by side.

    Parameters
    ----------
    images
        (H, W) or (H, W, 3) each, of NumPy or CuPy.
    titles
        One for each, or none.
    height
        Of an image, in inches.
    **style
        As in `show_image`.

    Returns
    -------
    Figure
        Of pyplot, so that a notebook shows it. Its axes are ``figure.axes``.

    Raises
    ------
    ValueError
        If there is no image, or one of another shape, or titles for some only.
    """
    from matplotlib import pyplot  # what opens windows is imported where one is asked for

    if len(images) == 0 or len(titles) not in (0, len(images)):
        raise ValueError(
            f"titles: expected none, or one for each image (at least one), got {len(titles)} for "
            f"{len(images)}"
        )
    figure, axes = pyplot.subplots(
        1, len(images), figsize=(1.1 * height * len(images), 1.25 * height), squeeze=False
    )
    for ax, image, title in zip(axes[0], images, list(titles) or [""] * len(images), strict=True):
        show_image(ax, image, title=title, **style)
    figure.tight_layout()
    return figure
