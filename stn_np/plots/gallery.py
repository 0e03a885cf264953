"""The gallery: what the library's transformations, kernels and paddings do, in two pictures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from stn_np.plots.gallery_kernels import draw_kernels
from stn_np.plots.gallery_page import STROKE
from stn_np.plots.gallery_transforms import draw_transforms
from stn_np.plots.style import BLUE, VERMILION
from stn_np.training.storage import write_atomic

#: The pictures' colours: shades from one to another, and how many of them.
SHADES = (
    ("white", "black", 96),
    ("white", BLUE, 50),
    ("black", VERMILION, 50),
    ("white", VERMILION, 30),
    (STROKE, BLUE, 30),
)


def draw_gallery(folder: Path) -> list[Path]:
    """Draw both pictures. They need no data, and are the same everywhere.

    Parameters
    ----------
    folder
        Where to. It is made if need be; pictures that are in it are replaced.

    Returns
    -------
    list of Path
        ``transforms.png``, a digit with its sampling grid under every family, and ``kernels.png``,
        every kernel at strong magnification and reduction, and every padding.

    Raises
    ------
    ValueError
        If a family, a mode or a padding has no example.
    OSError
        If nothing can be written there.
    """
    folder = Path(folder)
    figures = {"transforms.png": draw_transforms(), "kernels.png": draw_kernels()}
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(figure, folder / name) for name, figure in figures.items()]


def _save(figure: Figure, path: Path) -> Path:
    """Write a figure in 256 colours that we chose: half the size, and no visible difference."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    shades = np.concatenate([np.linspace(to_rgb(a), to_rgb(b), n) for a, b, n in SHADES])
    shades = (255 * shades).round().astype(np.uint8)
    picture = Image.fromarray(nearest_shade(pixels, shades))
    picture.putpalette(shades.tobytes())
    content = BytesIO()
    picture.save(content, format="PNG", optimize=True)
    write_atomic(path, content.getvalue())
    return path


def nearest_shade(pixels: NDArray[np.uint8], shades: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Which of the shades (n, 3) is nearest to each pixel (H, W, 3): (H, W)."""
    packed = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    colours, which = np.unique(packed, return_inverse=True)  # a few thousand
    rgb = colours[:, None] >> np.array([16, 8, 0]) & 255
    distance = ((rgb[:, None] - shades.astype(np.int64)) ** 2).sum(axis=-1)
    nearest: NDArray[np.uint8] = distance.argmin(axis=1).astype(np.uint8)
    return nearest[which].reshape(packed.shape)
