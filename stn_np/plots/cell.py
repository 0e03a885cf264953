"""One test digit: as it comes in, with the predicted sampling frame, and as it is handed on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from stn_np.plots.run_files import Frames, RunFiles
from stn_np.plots.style import BLUE, INK, RULE, SMALL, VERMILION
from stn_np.transforms import Transform

#: Largest field shown round an image, in image sizes to each side of its centre (0.5 = the image).
MAX_FIELD = 1.0


#: Coordinates beyond this are no place: the projective family has none behind its horizon.
NOWHERE = 1e5

#: The four sides of a frame, once round: upper, right, lower, left.
Sides = list[NDArray[np.float64]]


def frame_sides(
    transform: Transform,
    theta: NDArray[Any],
    image_shape: tuple[int, int],
    out_shape: tuple[int, int],
) -> Sides:
    """Where the outermost pixels of the output are read in the input, in pixels.

    Parameters
    ----------
    transform
        The family.
    theta
        (M, n_params).
    image_shape
        (H, W) of the input.
    out_shape
        (H', W') of the output.

    Returns
    -------
    list of NDArray
        Upper, right, lower and left side, once round: (M, W', 2), (M, H', 2), and again, last axis
        (x, y). NaN, at which matplotlib interrupts a line, stands where nothing is read.

    Notes
    -----
    **Convention.** The corner rule of the library: -1 and +1 are the centres of the outermost
    pixels, so they become 0 and W - 1. matplotlib puts the centres of pixels at whole numbers too.
    """
    H, W = image_shape
    grid, _ = transform(theta.astype(np.float64), out_shape)
    nowhere = np.abs(grid).max(axis=-1, keepdims=True) > NOWHERE
    pixels = np.where(nowhere, np.nan, grid + 1) * (np.array([W, H]) - 1) / 2
    return [pixels[:, 0], pixels[:, :, -1], pixels[:, -1, ::-1], pixels[:, ::-1, 0]]


@dataclass
class Cell:
    """One digit on a picture: the input above, the output below, its label underneath."""

    above: Axes
    below: Axes
    digit: int

    def draw(self, frames: Frames, moment: int, field: float) -> None:
        """Draw the digit as it was at one moment of the training."""
        image, warped = frames.images[self.digit, 0], frames.warped[moment, self.digit, 0]
        H, W = image.shape
        for axes in (self.above, self.below):
            axes.clear()
            axes.set_axis_off()
        _show(self.above, image)
        self.above.set_xlim((W - 1) / 2 - field * W, (W - 1) / 2 + field * W)
        self.above.set_ylim((H - 1) / 2 + field * H, (H - 1) / 2 - field * H)
        theta = frames.thetas[moment, self.digit : self.digit + 1]
        sides = frame_sides(frames.transform, theta, (H, W), warped.shape)
        _draw_frame(self.above, [side[0] for side in sides])
        _show(self.below, warped)
        corners = np.stack(_outline(*warped.shape), axis=1)
        _draw_frame(self.below, [corners[k : k + 2] for k in range(4)], clip=False)

    def write_label(self, files: RunFiles, frames: Frames, moment: int) -> None:
        """Say what the model reads, and if that is wrong what it should have read."""
        got, right = int(frames.predictions[moment, self.digit]), int(frames.labels[self.digit])
        text, colour, weight = f"“{files.class_name(got)}”", INK, "normal"
        if got != right:
            text, colour = f"✗ {text}, is {files.class_name(right)}", VERMILION
            weight = "bold"
        self.below.set_title(
            text, y=-0.04, va="top", pad=0, fontsize=SMALL, color=colour, fontweight=weight
        )


def field_of(frames: Frames, moments: slice, count: int) -> float:
    """Choose how much to show round the images: all frames in full, within reason.

    Returns
    -------
    float
        In image sizes to each side of the centre; half the image is 0.5.
    """
    H, W = frames.images.shape[2:]
    theta = frames.thetas[moments, :count].reshape(-1, frames.transform.n_params)
    sides = frame_sides(frames.transform, theta, (H, W), frames.warped.shape[-2:])
    points = np.concatenate(sides, axis=1)
    reach = np.abs(points / (np.array([W, H]) - 1.0) - 0.5) if min(H, W) > 1 else np.full(1, 0.5)
    reach = np.nan_to_num(reach, nan=0.5, posinf=MAX_FIELD)
    return float(np.clip(reach.max() + 0.04, 0.55, MAX_FIELD))


def _show(axes: Axes, image: NDArray[Any]) -> None:
    """Show ink on paper, with a thin line where the image ends."""
    H, W = image.shape
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.plot(*_outline(H, W), color=RULE, linewidth=0.8)


def _draw_frame(axes: Axes, sides: Sides, clip: bool = True) -> None:
    """Draw a frame of sides (n, 2) whose upper one is thicker and of another colour."""
    upper, rest = sides[0], np.concatenate(sides[1:])
    axes.plot(rest[:, 0], rest[:, 1], color=BLUE, lw=1.6, solid_capstyle="butt", clip_on=clip)
    axes.plot(
        upper[:, 0], upper[:, 1], color=VERMILION, lw=3.2, solid_capstyle="butt", clip_on=clip
    )


def _outline(H: int, W: int) -> tuple[list[float], list[float]]:
    """Return the outer edge of an image's pixels, x and y."""
    right, bottom = W - 0.5, H - 0.5
    return [-0.5, right, right, -0.5, -0.5], [-0.5, -0.5, bottom, bottom, -0.5]
