"""What the notebooks draw and print with."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import stn_np
from stn_np.plots import draw_frame, draw_grid, in_pixels, show_image, show_images, show_source
from stn_np.plots.style import VERMILION

matplotlib.use("agg")


@pytest.fixture
def axes():
    return Figure().add_subplot()


@pytest.mark.parametrize("align_corners", [True, False])
def test_in_pixels_is_where_the_sampler_reads(align_corners, xp):
    """An image of its own coordinates, read there: inside, sampling must return the points."""
    H, W = 5, 8
    theta = xp.asarray([[[0.5, 0.2, 0.1], [-0.1, 0.6, 0.05]]])
    points, _ = stn_np.affine_grid(theta, (3, 4), align_corners=align_corners)
    here = xp.asarray(np.stack(np.meshgrid(np.arange(W), np.arange(H))).astype(float)[None])
    V, _ = stn_np.grid_sample(here, points, align_corners=align_corners)
    expected = np.moveaxis(stn_np.backend.to_numpy(V)[0], 0, -1)
    found = in_pixels(points[0], (H, W), align_corners=align_corners)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_image_shows_the_given_pixels_and_field(axes):
    image = np.arange(12.0).reshape(3, 4) / 12
    show_image(axes, image, title="five", field=0.75)
    (shown,) = axes.images
    np.testing.assert_array_equal(shown.get_array(), image)
    assert axes.get_title() == "five"
    assert axes.get_xlim() == (1.5 - 3, 1.5 + 3)
    assert axes.get_ylim() == (1 + 2.25, 1 - 2.25)  # rows run downwards


def test_frame_goes_once_round_with_the_upper_side_apart(axes):
    points = np.stack(np.meshgrid(np.arange(4.0), 10 + np.arange(3.0)), axis=-1)
    draw_frame(axes, points)
    rest, upper = axes.lines
    assert upper.get_color() == VERMILION
    np.testing.assert_array_equal(upper.get_xydata(), points[0])
    assert rest.get_xydata()[0].tolist() == [3, 10] and rest.get_xydata()[-1].tolist() == [0, 10]
    assert {tuple(p) for p in rest.get_xydata()} == {
        *((3, 10 + k) for k in range(3)),
        *((k, 12) for k in range(4)),
        *((0, 10 + k) for k in range(3)),
    }


def test_grid_draws_every_step_th_line(axes):
    points = np.stack(np.meshgrid(np.arange(7.0), np.arange(5.0)), axis=-1)
    draw_grid(axes, points, step=2)
    assert len(axes.lines) == 3 + 4 + 2  # rows, columns, the frame's two
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), points[2])
    np.testing.assert_array_equal(axes.lines[3 + 1].get_xydata(), points[:, 2])


def test_images_side_by_side():
    figure = show_images([np.zeros((2, 3)), np.ones((4, 4))], ["a", "b"])
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]
    assert [ax.images[0].get_array().shape for ax in figure.axes] == [(2, 3), (4, 4)]
    pyplot.close(figure)


@pytest.mark.parametrize(("images", "titles"), [([], []), ([np.zeros((2, 2))], ["a", "b"])])
def test_titles_are_one_each_or_none(images, titles):
    with pytest.raises(ValueError, match="^titles: expected none, or one for each image"):
        show_images(images, titles)


def test_source_is_the_librarys_between_two_lines(capsys):
    show_source(stn_np.affine_grid, "def backward", "return dtheta")
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["# stn_np/transforms/affine.py", "def backward(dgrid: Array) -> Array:"]
    assert out[-1].startswith("    return dtheta.reshape(")


def test_source_of_the_whole(capsys):
    show_source(stn_np.layers.Flatten)
    assert capsys.readouterr().out.splitlines()[1].startswith("class Flatten")


def test_source_names_what_it_does_not_find():
    with pytest.raises(ValueError, match="^first: expected some of a line of .*, got 'nowhere'$"):
        show_source(stn_np.affine_grid, "nowhere")
    with pytest.raises(ValueError, match="^last: expected .*, got 'nowhere'$"):
        show_source(stn_np.affine_grid, "def backward", "nowhere")


def test_style_is_known_to_matplotlib():
    with pyplot.style.context("stn_np.plots.notebook"):
        assert pyplot.rcParams["figure.dpi"] == 100


def test_a_photo_is_shown_in_colour(axes):
    show_image(axes, np.full((3, 5, 3), 0.5))
    assert axes.images[0].get_array().shape == (3, 5, 3) and axes.get_xlim() == (-0.5, 4.5)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda axes: show_image(axes, np.zeros((1, 1, 4, 4))),
            r"image: .*\(H, W\).*\(1, 1, 4, 4\)",
        ),
        (lambda axes: show_image(axes, np.zeros(4)), r"image: .*, got \(4,\)"),
        (lambda axes: show_image(axes, np.zeros((0, 4))), r"image: .*, got \(0, 4\)"),
        (lambda axes: show_images([np.zeros((2, 2, 2))]), r"image: .*, got \(2, 2, 2\)"),
        (lambda axes: draw_frame(axes, np.zeros((1, 4, 5, 2))), r"points: .* is grid\[0\]"),
        (lambda axes: draw_grid(axes, np.zeros((4, 5, 3))), r"points: .*, got \(4, 5, 3\)"),
        (lambda axes: draw_grid(axes, np.zeros((4, 5, 2)), step=0), "step: expected at least 1"),
        (lambda axes: in_pixels(np.zeros((4, 3)), (5, 5)), r"points: .*, got \(4, 3\)"),
        (lambda axes: in_pixels(np.zeros((4, 2)), (0, 5)), "size: expected at least 1, got 0"),
    ],
)
def test_bad_input_is_named(axes, draw, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        draw(axes)
    pyplot.close("all")


def test_source_of_what_has_none():
    with pytest.raises(TypeError, match="^thing: expected one with source in Python, got <ufu"):
        show_source(np.add)
