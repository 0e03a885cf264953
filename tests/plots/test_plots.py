"""The pictures: the frame lies where the sampler reads, and a damaged run folder is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stn_np import grid_sample, plots, transforms
from stn_np.plots.animation import MAX_MOMENTS, choose_moments
from stn_np.plots.cell import frame_sides
from stn_np.plots.curves import draw_curves
from stn_np.plots.run_files import read_run
from stn_np.plots.sheet import draw_sheet

HEADER = "epoch,step,lr,train_loss,train_error,test_loss,test_error,grad_norm"
N_DIGITS = 7


def make_run(run: Path, epochs: int = 3, model: str = "st-cnn", transform: str = "affine") -> Path:
    """A run folder as training leaves it, with made-up figures."""
    run.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = [HEADER]
    for e in range(1, epochs + 1):
        rows.append(f"{e},{10 * e},{0.01 / e},{1 / e},{20 / e},{0.9 / e},{18 / e},{2 / e}")
    (run / "metrics.csv").write_text("\n".join(rows) + "\n")
    config = {"model": model, "transform": transform, "data": "digits", "distortion": "R"}
    (run / "config.json").write_text(json.dumps(config))
    if model.startswith("st-"):
        family = transforms.by_name(transform, (6, 8))
        moments, M = epochs + 1, N_DIGITS
        thetas = family.identity + 0.1 * rng.normal(size=(moments, M, family.n_params))
        np.savez(
            run / "frames.npz",
            images=rng.random((M, 1, 12, 10), np.float32),
            labels=np.arange(M),
            predictions=np.tile(np.arange(M)[::-1], (moments, 1)),
            thetas=thetas.astype(np.float32),
            warped=rng.random((moments, M, 1, 6, 8), np.float32),
            epochs=np.arange(moments),
            transform=np.array(transform),
        )
    return run


def random_theta(transform: transforms.Transform) -> np.ndarray:
    """(1, n_params), such that much of the frame lies inside the image."""
    noise = np.random.default_rng(1).normal(size=(1, transform.n_params))
    linear = transform.identity[None] * 0.8 + 0.04 * noise
    # Where the identity is all zeros, parameters are logarithms, or displacements.
    return linear if transform.identity.any() else -0.2 + 0.05 * noise


@pytest.mark.parametrize("name", transforms.FAMILIES)
def test_the_frame_is_where_the_outermost_output_pixels_are_read(name: str) -> None:
    column, row = np.meshgrid(np.arange(13.0), np.arange(9.0))
    U = np.stack([column, row])[None]  # each pixel holds its own place
    transform = transforms.by_name(name, (5, 4))
    theta = random_theta(transform)
    V, _ = grid_sample(U, transform(theta, (5, 4))[0], padding_mode="border")
    read_at = V[0].transpose(1, 2, 0)  # (x, y) of each output pixel
    edges = (read_at[0], read_at[:, -1], read_at[-1, ::-1], read_at[::-1, 0])
    sides = frame_sides(transform, theta, (9, 13), (5, 4))
    inside = 0
    for side, edge in zip(sides, edges, strict=True):
        np.testing.assert_allclose(np.clip(side[0], 0, (12, 8)), edge, atol=1e-9)
        inside += (side[0] == np.clip(side[0], 0, (12, 8))).all(axis=1).sum()
    assert inside > 5  # so that not all of them are clipped


@pytest.mark.parametrize("name", transforms.FAMILIES)
def test_the_identity_frame_goes_through_the_centres_of_the_outermost_pixels(name: str) -> None:
    transform = transforms.by_name(name, (6, 7))
    sides = frame_sides(transform, transform.identity[None], (9, 13), (6, 7))
    corners = [(0, 0), (12, 0), (12, 8), (0, 8)]
    np.testing.assert_allclose([side[0, 0] for side in sides], corners, atol=1e-9)
    for k in range(4):  # each ends where the next begins
        np.testing.assert_allclose(sides[k][0, -1], corners[(k + 1) % 4], atol=1e-9)


@pytest.mark.parametrize("name", transforms.FAMILIES)
def test_a_frame_is_bent_where_its_family_bends(name: str) -> None:
    transform = transforms.by_name(name, (6, 7))
    bends = name in ("tps", "piecewise-affine", "flow", "linear-basis")
    for side in frame_sides(transform, random_theta(transform), (9, 13), (6, 7)):
        x, y = (side[0] - side[0, 0]).T
        off_the_line = np.abs(x * y[-1] - y * x[-1]).max() / np.hypot(x[-1], y[-1])
        assert (off_the_line > 0.02) == bends


def test_a_frame_stops_at_the_horizon() -> None:
    """Half of the output is behind it: those points are nowhere."""
    theta = np.array([[1, 0, 0, 0, 1, 0, 3.0, 0]])  # the horizon is at x = -1/3
    sides = frame_sides(transforms.Projective(), theta, (9, 13), (7, 7))
    upper, right, _, left = (np.isnan(side[0]).all(axis=1) for side in sides)
    assert upper.tolist() == [True] * 3 + [False] * 4
    assert left.all() and not right.any()


@pytest.mark.parametrize(
    ("transform", "epochs"), [("affine", 3), ("projective", 1), ("tps", 1), ("flow", 1)]
)
def test_a_run_with_a_transformer_gives_three_pictures(
    tmp_path: Path, transform: str, epochs: int
) -> None:
    drawn = plots.draw_run(make_run(tmp_path, epochs, transform=transform))
    assert [p.name for p in drawn] == ["curves.png", "transformer.png", "transformer.gif"]
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.format == path.suffix[1:].upper()
            assert len(picture.convert("RGB").getcolors(10**6)) > 5  # Not an empty page.


def test_a_run_without_a_transformer_gives_curves_only(tmp_path: Path) -> None:
    assert plots.draw_run(make_run(tmp_path, model="cnn")) == [tmp_path / "curves.png"]


def test_the_animation_has_a_picture_for_every_epoch_and_stays_on_the_last(tmp_path: Path) -> None:
    path = plots.draw_run(make_run(tmp_path, epochs=4))[-1]
    with Image.open(path) as picture:
        assert picture.n_frames == 5 and picture.info["loop"] == 0
        stays = []
        for k in range(picture.n_frames):
            picture.seek(k)
            stays.append(picture.info["duration"])
    assert max(stays[:-1]) < stays[-1]


def test_long_runs_are_thinned_out_but_keep_their_ends() -> None:
    for count in (1, 2, MAX_MOMENTS, MAX_MOMENTS + 1, 61, 1000):
        moments = choose_moments(count)
        assert moments[0] == 0 and moments[-1] == count - 1
        assert len(moments) <= MAX_MOMENTS and moments == sorted(set(moments))
    assert choose_moments(MAX_MOMENTS) == list(range(MAX_MOMENTS))


def test_the_sheet_marks_wrong_digits_and_names_classes(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    names = ["zero", "one", "two", "three", "four", "five", "a very long name"]
    (run / "results.json").write_text(json.dumps({"class_names": names}))
    labels = [axes.get_title() for axes in draw_sheet(read_run(run)).axes if axes.get_title()]
    assert labels == [
        "✗ “a very l…”,\nis zero",
        "✗ “five”, is one",
        "✗ “four”, is two",
        "“three”",
        "✗ “two”, is four",
        "✗ “one”, is five",
        "✗ “zero”,\nis a very l…",
    ]


@pytest.mark.parametrize(("images", "drawn"), [(1, 10), (19, 10), (20, 14)])
def test_a_sheet_has_whole_rows_and_one_at_least(tmp_path: Path, images: int, drawn: int) -> None:
    files = read_run(make_run(tmp_path))
    assert len(draw_sheet(files, images=images).axes) == drawn  # of 7 digits, two images each


def test_curves_show_the_numbers_of_the_file(tmp_path: Path) -> None:
    figure = draw_curves(read_run(make_run(tmp_path, epochs=4)))
    error = figure.axes[0]
    training, test = error.lines
    np.testing.assert_allclose(training.get_xydata(), [[1, 20], [2, 10], [3, 20 / 3], [4, 5]])
    np.testing.assert_allclose(test.get_ydata(), [18, 9, 6, 4.5])
    low, high = error.get_ylim()
    assert low < 4.5 and high > 20


def test_an_error_of_zero_is_drawn_too(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "metrics.csv").write_text(
        f"{HEADER}\n1,10,0.01,0.1,3,0.1,0,1\n2,20,0.01,0.1,0,0.1,0,1\n"
    )
    error = draw_curves(read_run(run)).axes[0]
    assert error.get_yscale() == "linear" and error.get_ylim()[0] == 0


def test_a_transformer_that_went_astray_is_drawn_too(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with np.load(run / "frames.npz") as file:
        arrays = dict(file)
    arrays["thetas"][1:, 0] = np.nan
    arrays["thetas"][1:, 1] = 1e6
    np.savez(run / "frames.npz", **arrays)
    assert len(plots.draw_run(run)) == 3


@pytest.mark.parametrize("transform", ["affine", "tps", "flow"])
def test_the_banner_is_one_wide_picture(tmp_path: Path, transform: str) -> None:
    path = plots.draw_banner(make_run(tmp_path, transform=transform), tmp_path / "banner.png")
    with Image.open(path) as picture:
        assert picture.width > 2 * picture.height
    with pytest.raises(ValueError, match="expected a model with a transformer, got 'cnn'"):
        plots.draw_banner(make_run(tmp_path / "cnn", model="cnn"), tmp_path / "cnn.png")


def test_a_line_that_is_cut_off_is_left_out_and_said(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    whole = (run / "metrics.csv").read_text()
    assert plots.remarks(run) == []
    (run / "metrics.csv").write_text(whole + "7,700,0.0")
    assert plots.remarks(run) == [
        "metrics.csv: the last line is cut off; the rows before it are drawn"
    ]
    assert len(plots.draw_run(run)) == 3
    (run / "metrics.csv").write_text(whole + "7,700,0.0\n")
    with pytest.raises(ValueError, match=r"metrics.csv: expected \d numbers .* in line \d+, got"):
        plots.draw_run(run)


@pytest.mark.parametrize("name", ["config.json", "metrics.csv", "frames.npz"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path)
    content = (run / name).read_bytes()
    half = content[: len(content) // 2 + 3]
    (run / name).write_bytes(half + b"\n" * (name == "metrics.csv"))
    with pytest.raises(ValueError, match=f"{name}: expected .*damaged"):
        plots.draw_run(run)
    (run / name).unlink()
    with pytest.raises(ValueError, match=f"{name}: expected this file of a run, but there is none"):
        plots.draw_run(run)
    assert not list(run.glob("*.png"))


def test_files_that_hold_something_else_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "metrics.csv").write_text(HEADER + "\n")
    with pytest.raises(ValueError, match=r"metrics.csv: expected at least one finished epoch"):
        plots.draw_run(run)
    (run / "metrics.csv").write_text("epoch,lr\n1,0.1\n")
    with pytest.raises(ValueError, match=r"metrics.csv: expected the columns .*'train_loss'"):
        plots.draw_run(run)
    make_run(tmp_path)
    with np.load(run / "frames.npz") as file:
        arrays = dict(file)
    np.savez(run / "frames.npz", **{**arrays, "labels": arrays["labels"][1:]})
    with pytest.raises(ValueError, match=r"frames.npz: labels: expected shape \(M,\), got \(6,\)"):
        plots.draw_run(run)
    np.savez(run / "frames.npz", **{**arrays, "transform": np.array("afine")})
    with pytest.raises(ValueError, match=r"frames.npz: .*did you mean 'affine'"):
        plots.draw_run(run)
    np.savez(run / "frames.npz", **{**arrays, "transform": np.array("attention")})
    with pytest.raises(ValueError, match=r"frames.npz: thetas: expected 3 numbers .*got 6"):
        plots.draw_run(run)


def test_drawing_leaves_pyplot_alone_and_the_library_does_not_import_matplotlib() -> None:
    code = (
        "import sys, stn_np; assert 'matplotlib' not in sys.modules;"
        "import stn_np.plots; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
