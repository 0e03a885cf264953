"""The gallery: nothing is missing in it, it shows what the sampler does, and it is legible."""

from __future__ import annotations

import errno
import inspect
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

import stn_np.plots.gallery
import stn_np.plots.gallery_kernels
from stn_np import plots, transforms
from stn_np.cli import main
from stn_np.plots.gallery_examples import EXAMPLES, examples
from stn_np.plots.gallery_grid import SIZE
from stn_np.plots.gallery_kernels import (
    REDUCTION,
    ROWS,
    SQUARE,
    draw_kernels,
    resized,
    rings,
    weight,
)
from stn_np.plots.gallery_paddings import RULES, framed_five, seen_from_afar
from stn_np.plots.gallery_paddings import SIZE as PADDED_SIZE
from stn_np.plots.gallery_transforms import FIELD, draw_transforms
from stn_np.plots.gallery_volume import ANGLE, askew, turned
from stn_np.plots.style import VERMILION
from stn_np.sampling import MODES, PADDING_MODES, grid_sample, kernels
from stn_np.transforms import FAMILIES, Affine3d, by_name

NAMES = ["kernels.png", "transforms.png"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the gallery and nothing else."""
    folder = tmp_path_factory.mktemp("somewhere") / "new" / "gallery"
    plots.draw_gallery(folder)
    return folder


@pytest.fixture(scope="module")
def transforms_sheet() -> Figure:
    return draw_transforms()


@pytest.fixture(scope="module")
def kernels_sheet() -> Figure:
    return draw_kernels()


# ------------------------------------------------------------------------------------- the command


def test_the_command_writes_both_pictures_and_nothing_else(
    drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STN_NP_DATA", "nowhere")
    folder = tmp_path / "gallery"
    folder.mkdir()
    (folder / "kernels.png").write_text("an older one")
    (folder / "mine.txt").write_text("stays")
    assert main(["gallery"]) == 0
    assert capsys.readouterr().out.split() == ["gallery/transforms.png", "gallery/kernels.png"]
    assert {str(p.relative_to(folder)) for p in tmp_path.rglob("*") if p != folder} == {
        "mine.txt",
        *NAMES,
    }
    for name in NAMES:  # the same bits, wherever it is drawn
        assert (folder / name).read_bytes() == (drawn / name).read_bytes()
    assert sorted(p.name for p in drawn.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_pictures_are_legible_on_a_phone_and_small(drawn: Path, name: str) -> None:
    assert (drawn / name).stat().st_size < 300_000
    with Image.open(drawn / name) as picture:
        assert picture.format == "PNG"
        assert picture.width == 960 and 2000 < picture.height < 3200
        pixels = np.asarray(picture.convert("RGB"))
    frame = [pixels[:8], pixels[-8:], pixels[:, :8], pixels[:, -8:]]
    assert all((edge == 255).all() for edge in frame)  # white, and nothing cut off
    assert (pixels < 128).any(axis=(1, 2)).mean() > 0.7


@pytest.mark.parametrize("where", ["taken", "taken/below", "locked"])
def test_a_folder_that_cannot_be_written_is_named_before_any_work(
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(**arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plots, "draw_gallery", None)
    Path("taken").write_text("a file")
    if where == "locked":
        monkeypatch.setattr("stn_np.training.folder.tempfile.mkdtemp", refuse)
    assert main(["gallery", "--out", where]) == 2
    error = capsys.readouterr().err
    what = {
        "taken": "--out: expected a folder, but taken is a file",
        "taken/below": "--out: cannot write to taken/below: ",
        "locked": "--out: cannot write to locked: .*Permission denied",
    }[where]
    assert error.startswith("stn-np gallery: error: ") and error.count("\n") == 1
    assert re.search(what, error), error
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


# ------------------------------------------------------------------------------ nothing is missing


def test_every_family_has_an_example_and_a_new_one_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sorted(name for e in examples() for name in e.thetas) == sorted(FAMILIES)
    monkeypatch.setitem(FAMILIES, "twirl", transforms.Affine)
    with pytest.raises(ValueError, match=r"every family once; without an example: \['twirl'\]"):
        draw_transforms()
    monkeypatch.delitem(FAMILIES, "twirl")
    monkeypatch.delitem(FAMILIES, "tps")
    with pytest.raises(ValueError, match=r"not in the library: \['tps'\]"):
        draw_transforms()


@pytest.mark.parametrize("family", [name for e in EXAMPLES for name in e.thetas])
def test_a_theta_is_characteristic_and_stays_on_the_page(family: str) -> None:
    (example,) = [e for e in EXAMPLES if family in e.thetas]
    transform = by_name(family, (SIZE, SIZE))
    theta = example.thetas[family](transform)
    assert theta.shape == (transform.n_params,)
    grid, _ = transform(theta[None], (SIZE, SIZE))
    straight, _ = transform(transform.identity[None], (SIZE, SIZE))
    moved = np.abs(grid - straight).max()
    assert 0.1 < moved and np.abs(grid).max() <= 2 * FIELD


@pytest.mark.parametrize("example", [e for e in EXAMPLES if len(e.thetas) > 1])
def test_names_that_share_a_picture_say_the_same_warp(example: object) -> None:
    first, *others = [
        by_name(name, (SIZE, SIZE))(theta(by_name(name, (SIZE, SIZE)))[None], (SIZE, SIZE))[0]
        for name, theta in example.thetas.items()  # type: ignore[attr-defined]
    ]
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-12)


def test_every_kernel_and_every_padding_is_there_and_a_new_one_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    makers = {
        name
        for name, function in inspect.getmembers(kernels, inspect.isfunction)
        if not name.startswith("_") and function.__annotations__["return"] == "Kernel"
    }
    assert makers == {"gaussian", "lanczos", "area"}
    assert sorted(ROWS) == sorted({*MODES, *makers})
    assert sorted(RULES) == sorted(PADDING_MODES)
    monkeypatch.setattr(stn_np.plots.gallery_paddings, "PADDING_MODES", (*PADDING_MODES, "void"))
    with pytest.raises(ValueError, match=r"every padding once; without an example: \['void'\]"):
        draw_kernels()
    monkeypatch.setattr(stn_np.plots.gallery_kernels, "MODES", (*MODES, "bisextic"))
    with pytest.raises(ValueError, match=r"every kernel once; without an example: \['bisextic'\]"):
        draw_kernels()


def test_every_name_is_written(transforms_sheet: Figure, kernels_sheet: Figure) -> None:
    words = " ".join(text.get_text() for text in transforms_sheet.texts)
    for name in (*FAMILIES, "identity", "affine3d"):
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", words), name
    for name in ("affine", "tps", "projective"):
        assert f"{name}: {by_name(name).n_params} numbers" in words
    bold = [t.get_text() for t in kernels_sheet.texts if t.get_fontweight() == "bold"]
    assert bold == ["what is read", *ROWS, *RULES]


# ------------------------------------------------------------------------- what is drawn is true


def pictures(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images]


def upper_side(axes: Axes) -> np.ndarray:
    """(n, 2): where the upper row of the output is read."""
    (line,) = [
        line
        for line in axes.lines
        if line.get_linewidth() == 3 and to_rgb(line.get_color()) == to_rgb(VERMILION)
    ]
    return np.asarray(line.get_xydata())


def test_the_lines_lie_where_the_output_is_read(transforms_sheet: Figure) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    axes = pictures(transforms_sheet)[: 2 * (1 + len(EXAMPLES))]
    inputs, outputs = axes[::2], axes[1::2]
    seen = 0.0
    for before, after in zip(inputs, outputs, strict=True):
        U, V = (np.asarray(a.images[0].get_array()) for a in (before, after))
        read_at = upper_side(before)
        expected = ndimage.map_coordinates(U, read_at.T[::-1], order=1, mode="grid-constant")
        np.testing.assert_allclose(V[0], expected, atol=1e-9)
        np.testing.assert_allclose(
            upper_side(after).T, [np.arange(SIZE), np.zeros(SIZE)], atol=1e-9
        )
        seen += float(V[0].max())
    assert seen > 1  # the upper rows are not all blank
    assert all((a.images[0].get_array() == inputs[0].images[0].get_array()).all() for a in inputs)


def test_control_points_are_drawn_where_theta_says(transforms_sheet: Figure) -> None:
    drawn = {}
    for number, example in enumerate(EXAMPLES, start=1):
        dots = [
            [line.get_xydata() for line in axes.lines if line.get_marker() == "o"]
            for axes in pictures(transforms_sheet)[2 * number : 2 * number + 2]
        ]
        drawn[next(iter(example.thetas))] = dots
    for name, (before, after) in drawn.items():
        if name not in ("tps", "piecewise-affine"):
            assert before == after == []
            continue
        j = np.linspace(0, SIZE - 1, 4)
        regular = np.stack(np.meshgrid(j, j), axis=-1).reshape(-1, 2)
        np.testing.assert_allclose(after[0], regular, atol=1e-9)
        same = np.isclose(before[0], regular).all(axis=1)
        assert same.sum() == 12  # those at the rim


def test_a_digit_that_stands_askew_is_turned_to_the_front() -> None:
    digit = np.zeros((SIZE, SIZE))
    digit[8:40, 12:36] = 1
    theta = turned(ANGLE)
    U = askew(digit, theta)
    grid, _ = Affine3d()(theta[None], U.shape[2:])
    V, _ = grid_sample(U, grid)
    narrow, wide = (image[0, 0].max(axis=0) > 0.5 for image in (U, V))
    assert narrow.sum() < 0.7 * digit.sum()
    assert (wide == digit).mean() > 0.97


def test_a_student_sees_what_area_does() -> None:
    """The rings' false twins stand at (1/6, 1/6), ...: with every kernel but that one."""
    size = SQUARE // REDUCTION
    part = slice(0, size // 3)
    contrast = {
        name: float(resized(rings(SQUARE), size, row.reducing)[0, 0, part, part].std())
        for name, row in ROWS.items()
    }
    assert contrast.pop("area") < 0.02
    assert min(contrast.values()) > 0.2


def test_overshoots_are_coloured_and_nothing_else_is(kernels_sheet: Figure) -> None:
    coloured = {}
    names = ["what is read", *ROWS]
    for name, axes in zip(names, pictures(kernels_sheet)[0 : 2 * len(names) : 2], strict=True):
        shown = axes.images[0]
        rgb = shown.cmap(shown.norm(shown.get_array()))[..., :3]
        coloured[name] = bool((np.ptp(rgb, axis=-1) > 0.01).any())
    assert {name for name, some in coloured.items() if some} == {"bicubic", "lanczos"}


@pytest.mark.parametrize("name", ROWS)
def test_the_curves_are_the_weights_of_the_sampler(name: str) -> None:
    kernel = ROWS[name].reducing
    size, middle = 41, 20
    U = np.zeros((1, 1, size, size))
    U[0, 0, :, middle] = 1  # V is what this column counts
    d = np.array([-4.7, -2.5, -1.3, -0.7, -0.2, 0.0, 0.4, 0.9, 1.6, 2.2, 3.9, 5.3])
    x = (d + middle) / (size - 1) * 2 - 1
    grid = np.stack([x, np.zeros_like(x)], axis=-1)[None, None]
    V, _ = grid_sample(U, grid, mode=kernel)
    np.testing.assert_allclose(weight(kernel, d), V[0, 0, 0], atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_the_paddings_are_those_of_numpy(name: str) -> None:
    U = framed_five()
    value = RULES[name][1]
    mode = {"zeros": "constant", "border": "edge", "reflection": "symmetric"}.get(name, name)
    constant = {"constant_values": value} if mode == "constant" else {}
    expected = np.pad(U[0, 0], PADDED_SIZE, mode=mode, **constant)  # type: ignore[call-overload]
    np.testing.assert_allclose(seen_from_afar(U, name, value)[0, 0], expected, atol=1e-12)
    assert U[0, 0, 0].min() > 0  # else one could not tell zeros from border


def test_the_rings_are_in_the_picture_pixel_by_pixel(drawn: Path) -> None:
    """Else the picture of what is read would itself be full of aliasing."""
    with Image.open(drawn / "kernels.png") as picture:
        pixels = np.asarray(picture.convert("L"), np.float64)
    x, y = 690, 150
    shown = pixels[y : y + SQUARE, x : x + SQUARE][3:-3, 3:-3]
    expected = 255 * (1 - rings(SQUARE)[0, 0, 3:-3, 3:-3])
    assert np.abs(shown - expected).max() < 4  # 96 shades of grey


# --------------------------------------------------------------------------------------- legible


@pytest.mark.parametrize("sheet", ["transforms_sheet", "kernels_sheet"])
def test_no_text_lies_on_another_or_leaves_the_page(
    sheet: str, request: pytest.FixtureRequest
) -> None:
    figure = request.getfixturevalue(sheet)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # which puts the legend in its place
    renderer = canvas.get_renderer()
    texts = [*figure.texts, *(t for legend in figure.legends for t in legend.get_texts())]
    texts += [t for axes in figure.axes if not axes.images for t in axes.texts]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    margin = 15  # pixels
    for text, box in boxes:
        assert box.x0 > margin and box.x1 < figure.bbox.width - margin, text
        assert box.y0 > margin and box.y1 < figure.bbox.height - margin, text
    for (a, one), (b, other) in combinations(boxes, 2):
        apart = one.x1 < other.x0 or other.x1 < one.x0
        apart = apart or one.y1 - 2 < other.y0 or other.y1 - 2 < one.y0
        assert apart, (a, b)
    for text, box in boxes:
        for axes in figure.axes:
            if axes.images:
                frame = axes.get_window_extent(renderer)
                inside = box.x0 < frame.x1 and frame.x0 < box.x1
                assert not (inside and box.y0 < frame.y1 - 2 and frame.y0 + 2 < box.y1), text
    assert min(t.get_fontsize() for t in texts) >= 10.5


def test_colours_are_kept_as_near_as_there_are_shades() -> None:
    shades = np.array([[0, 0, 0], [255, 255, 255], [0, 114, 178]], np.uint8)
    pixels = np.array([[[3, 2, 1], [250, 255, 240]], [[10, 100, 170], [0, 0, 0]]], np.uint8)
    found = stn_np.plots.gallery.nearest_shade(pixels, shades)
    assert found.tolist() == [[0, 1], [2, 0]]
