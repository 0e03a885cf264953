"""One test example: as it comes in, with the predicted sampling frames, and as it is handed on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from stn_np.plots.run_files import Followed, RunFiles
from stn_np.plots.style import BLUE, COLOURS, INK, INKS, RULE, SMALL, VERMILION
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
        (x, y). NaN, at which matplotlib interrupts a line, stands where nothing is read. In volumes
        these are the sides of the box's front as it is seen from ahead; the other edges follow.

    Notes
    -----
    **Convention.** The corner rule of the library: -1 and +1 are the centres of the outermost
    pixels, so they become 0 and W - 1. matplotlib puts the centres of pixels at whole numbers too.
    """
    H, W = image_shape
    if getattr(transform, "n_dims", 2) == 3:
        return _box_sides(transform, theta, image_shape)
    grid, _ = transform(theta.astype(np.float64), out_shape)
    nowhere = np.abs(grid).max(axis=-1, keepdims=True) > NOWHERE
    pixels = np.where(nowhere, np.nan, grid + 1) * (np.array([W, H]) - 1) / 2
    return [pixels[:, 0], pixels[:, :, -1], pixels[:, -1, ::-1], pixels[:, ::-1, 0]]


def _box_sides(transform: Transform, theta: NDArray[Any], image_shape: tuple[int, int]) -> Sides:
    """The edges of the box that is read in a volume, as they are seen from ahead."""
    H, W = image_shape
    corners, _ = transform(theta.astype(np.float64), (2, 2, 2))  # (M, z, y, x, 3)
    at = (corners[..., :2] + 1) * (np.array([W, H]) - 1) / 2
    nothing = np.full((len(theta), 1, 2), np.nan)

    def line(*places: tuple[int, int, int]) -> NDArray[np.float64]:
        """Through corners."""
        return np.stack([at[:, z, y, x] for z, y, x in places], axis=1)

    once_round = [(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)]
    ahead = [line((0, *a), (0, *b)) for a, b in pairwise(once_round)]
    behind = line(*((1, *a) for a in once_round))
    between = [line((0, *a), (1, *a)) for a in once_round[:4]]
    return [*ahead, *(np.concatenate([nothing, edge], axis=1) for edge in (behind, *between))]


@dataclass(frozen=True)
class Panel:
    """One image of a cell: what some transformers read, with their frames, or what one gives."""

    frames_of: tuple[str, ...]
    output: bool


def panels_of(frames: Followed) -> list[Panel]:
    """The images of a cell from above: the input, each output, and maps that are read further in.

    Transformers that read the image itself have their frames on one picture of it.
    """
    outer = tuple(name for name, warps in frames.transformers.items() if warps.read is None)
    inner = [name for name in frames.transformers if name not in outer]
    panels = [Panel(outer, False), *(Panel((name,), True) for name in outer)] if outer else []
    for name in inner:
        panels += [Panel((name,), False), Panel((name,), True)]
    return panels


def colours_of(frames: Followed) -> dict[str, tuple[str, str]]:
    """The colours of each transformer's frame, and of its upper side: of several, the same."""
    names = list(frames.transformers)
    if len(names) == 1:
        return {names[0]: (BLUE, VERMILION)}
    return {name: (colour, colour) for name, colour in zip(names, cycle(COLOURS), strict=False)}


@dataclass
class Cell:
    """One example on a picture: the input above, the outputs below, its label underneath."""

    axes: list[Axes]
    digit: int

    def draw(self, frames: Followed, moment: int, field: float) -> None:
        """Draw the example as it was at one moment of the training."""
        colours = colours_of(frames)
        for axes, panel in zip(self.axes, panels_of(frames), strict=True):
            # Not axes.clear(), which makes new ticks: most of the time of an animation.
            for artist in (*axes.images, *axes.lines, *axes.patches):
                artist.remove()
            axes.set_axis_off()
            if panel.output:
                (name,) = panel.frames_of
                warped = frames.transformers[name].warped[moment, self.digit]
                _show(axes, warped)
                corners = np.stack(_outline(*warped.shape[-2:]), axis=1)
                sides = [corners[k : k + 2] for k in range(4)]
                _draw_frame(axes, sides, colours[name], clip=False)
            else:
                self._draw_input(axes, panel, frames, moment, field)

    def _draw_input(
        self, axes: Axes, panel: Panel, frames: Followed, moment: int, field: float
    ) -> None:
        """Draw what is read, with a frame for each transformer that reads it."""
        image = frames.read_by(panel.frames_of[0], moment)[self.digit]
        H, W = image.shape[-2:]
        _show(axes, image)
        axes.set_xlim((W - 1) / 2 - field * W, (W - 1) / 2 + field * W)
        axes.set_ylim((H - 1) / 2 + field * H, (H - 1) / 2 - field * H)
        for name in panel.frames_of:
            warps = frames.transformers[name]
            theta = warps.thetas[moment, self.digit : self.digit + 1]
            sides = frame_sides(warps.transform, theta, (H, W), warps.warped.shape[-2:])
            _draw_frame(axes, [side[0] for side in sides], colours_of(frames)[name])

    def write_label(self, files: RunFiles, frames: Followed, moment: int) -> None:
        """Say what the model reads, and if that is wrong what it should have read."""
        got, right = int(frames.predictions[moment, self.digit]), int(frames.labels[self.digit])
        text, colour, weight = f"“{files.class_name(got)}”", INK, "normal"
        if got != right:
            told = (f"✗ {text},", f"is {files.class_name(right)}")
            text = ("\n" if sum(map(len, told)) > 15 else " ").join(told)  # a cell is not wider
            colour, weight = VERMILION, "bold"
        self.axes[-1].set_title(
            text, y=-0.04, va="top", pad=0, fontsize=SMALL, color=colour, fontweight=weight
        )


def field_of(frames: Followed, moments: slice, count: int) -> float:
    """Choose how much to show round the images: all frames in full, within reason.

    Returns
    -------
    float
        In image sizes to each side of the centre; half the image is 0.5.
    """
    most = 0.55
    for name, warps in frames.transformers.items():
        H, W = frames.read_by(name, 0).shape[2:]
        theta = warps.thetas[moments, :count].reshape(-1, warps.transform.n_params)
        sides = frame_sides(warps.transform, theta, (H, W), warps.warped.shape[-2:])
        points = np.concatenate(sides, axis=1)
        extent = np.maximum(np.array([W, H]) - 1.0, 1)
        reach = np.abs(points / extent - 0.5)
        reach = np.nan_to_num(reach, nan=0.5, posinf=MAX_FIELD)
        most = max(most, float(np.clip(reach.max() + 0.04, 0.55, MAX_FIELD)))
    return most


def as_picture(image: NDArray[Any]) -> NDArray[Any]:
    """(C, H, W) as matplotlib shows it: (H, W) of one channel, else (H, W, 3).

    Two channels are two inks on the same paper; three are red, green and blue.
    """
    if len(image) == 1:
        return np.asarray(image[0])
    if len(image) == 3:
        return np.asarray(np.clip(image.transpose(1, 2, 0), 0, 1))
    inks = np.array([to_rgb(INKS[k % len(INKS)]) for k in range(len(image))])
    light = 1 - np.clip(image, 0, 1)[..., None] * (1 - inks[:, None, None])
    return np.asarray(light.prod(axis=0))


def _show(axes: Axes, image: NDArray[Any]) -> None:
    """Show ink on paper, with a thin line where the image ends."""
    H, W = image.shape[-2:]
    axes.imshow(as_picture(image), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.plot(*_outline(H, W), color=RULE, linewidth=0.8)


def _draw_frame(axes: Axes, sides: Sides, colours: tuple[str, str], clip: bool = True) -> None:
    """Draw a frame of sides (n, 2) whose upper one is thicker and of another colour."""
    for (x, y), colour, width in (
        (np.concatenate(sides[1:]).T, colours[0], 1.6),
        (sides[0].T, colours[1], 3.2),
    ):
        axes.plot(x, y, color=colour, lw=width, solid_capstyle="butt", clip_on=clip)


def _outline(H: int, W: int) -> tuple[list[float], list[float]]:
    """Return the outer edge of an image's pixels, x and y."""
    right, bottom = W - 0.5, H - 0.5
    return [-0.5, right, right, -0.5, -0.5], [-0.5, -0.5, bottom, bottom, -0.5]
