"""A user's own folder of pictures: read, turned the right way round, and refused in clear words."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imsave
from PIL import Image

from stn_np.data import DataError, load_folder
from stn_np.data.folder import load_pictures


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, pixels)


def grey_rgb(grey: np.ndarray) -> np.ndarray:
    """Bytes (h, w, 3) of a grey picture in [0, 1]."""
    return np.repeat(np.rint(np.asarray(grey) * 255).astype(np.uint8)[..., None], 3, -1)


def shape_picture(i: int, size=(28, 28)) -> np.ndarray:
    """A bright, asymmetric bar on black; i tells the pictures apart."""
    grey = np.zeros(size)
    grey[5:20, 4 + i : 9 + i] = 0.2 + 0.1 * (i % 8)
    return grey


@pytest.fixture
def folder(tmp_path):
    for name, n in (("b", 5), ("a", 11)):
        for i in range(n):
            save(tmp_path / "shapes" / name / f"{i:02}.png", grey_rgb(shape_picture(i)))
    return tmp_path / "shapes"


def test_pictures_labels_and_split(folder):
    train, test = load_folder(folder)
    assert train.class_names == test.class_names == ("a", "b")
    assert train.name == "shapes"
    assert train.labels.tolist() == [0] * 9 + [1] * 4
    assert test.labels.tolist() == [0, 0, 1]
    for half, which in ((test, [4, 9, 4]), (train, [0, 1, 2, 3, 5, 6, 7, 8, 10, 0, 1, 2, 3])):
        expected = np.stack([shape_picture(i) for i in which])[:, None]
        assert half.images.dtype == np.float32
        np.testing.assert_allclose(half.images, expected, atol=1 / 254)
    assert "16 pictures of 2 classes" in train.note
    assert "inverted" not in train.note


def test_dark_on_bright_is_inverted_and_says_so(folder, tmp_path):
    for file in sorted(folder.rglob("*.png")):
        picture = shape_picture(int(file.stem))
        save(tmp_path / "paper" / file.relative_to(folder), grey_rgb(1 - picture))
    usual, inverted = load_folder(folder), load_folder(tmp_path / "paper")
    for ours, theirs in zip(usual, inverted, strict=True):
        np.testing.assert_allclose(ours.images, theirs.images, atol=1 / 100)
        assert "inverted, because their borders are bright (median 1.00)" in theirs.note


def test_inverting_leaves_the_margins_of_a_narrow_picture_at_zero(tmp_path):
    for name in "ab":
        for i in range(5):
            save(tmp_path / name / f"{i}.png", grey_rgb(np.full((28, 10), 0.9)))
    train, _ = load_folder(tmp_path)
    assert train.images[..., :8].max() == 0
    assert train.images[..., 20:].max() == 0
    np.testing.assert_allclose(train.images[..., 10:18], 0.1, atol=1 / 254)


def test_pictures_with_the_other_background_are_counted(folder):
    save(folder / "a" / "98.png", grey_rgb(1 - shape_picture(1)))
    train, _ = load_folder(folder)
    assert "the borders of 1 of them are unlike the others'" in train.note
    assert "inverted" not in train.note


def test_aspect_ratio_is_kept_and_size_is_free(tmp_path):
    for name in "ab":
        for i in range(5):
            picture = np.zeros((40, 80))
            picture[10:30, 20:40] = 1
            save(tmp_path / name / f"{i}.png", grey_rgb(picture))
    train, _ = load_folder(tmp_path, image_size=(24, 16))
    assert train.images.shape == (8, 1, 24, 16)
    expected = np.zeros((24, 16))
    expected[10:14, 4:8] = 1  # 80 x 40 is shrunk 5 times to 16 x 8, rows 8 to 15
    np.testing.assert_allclose(train.images[0, 0], expected, atol=1e-5)


def test_large_pictures_do_not_alias(tmp_path):
    stripes = np.zeros((112, 112))
    stripes[:, ::2] = 1  # every second column: grey from afar
    for name in "ab":
        for i in range(5):
            save(tmp_path / name / f"{i}.png", grey_rgb(stripes))
    train, _ = load_folder(tmp_path)
    np.testing.assert_allclose(train.images, 0.5, atol=0.01)


def test_colour_becomes_brightness(tmp_path):
    colours = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
    for name, colour in colours.items():
        for i in range(5):
            pixels = np.zeros((12, 12, 3), np.uint8)
            pixels[3:9, 3:9] = colour
            save(tmp_path / name / f"{i}.png", pixels)
    train, _ = load_folder(tmp_path, (12, 12))
    assert train.class_names == ("blue", "green", "red")
    for label, brightness in enumerate((0.114, 0.587, 0.299)):
        got = train.images[train.labels == label][:, 0, 3:9, 3:9]
        np.testing.assert_allclose(got, brightness, atol=1e-3)


def test_other_formats(folder):
    for i in range(5):
        for suffix in (".jpg", ".WEBP", ".tiff"):
            path = folder / "c" / f"{i}{suffix}"
            save(path.with_suffix(suffix.lower()), grey_rgb(shape_picture(i)))
            path.with_suffix(suffix.lower()).rename(path)
    train, test = load_folder(folder)
    assert train.class_names == ("a", "b", "c")
    pictures = np.concatenate([train.images[train.labels == 2], test.images[test.labels == 2]])
    assert len(pictures) == 15
    wanted = np.stack([shape_picture(i) for i in range(5)])
    for picture in pictures[:, 0]:  # JPEG is lossy, but the five differ by 0.2 and more
        assert np.abs(wanted - picture).max((1, 2)).min() < 0.15


def test_sixteen_bits(tmp_path):
    image = pytest.importorskip("PIL.Image")
    values = np.linspace(0, 65535, 28 * 28).astype(np.uint16).reshape(28, 28)
    values[[0, -1]] = values[:, [0, -1]] = 0
    for name in "ab":
        for i in range(5):
            for suffix in ("png", "tif"):
                path = tmp_path / name / f"{i}.{suffix}"
                path.parent.mkdir(exist_ok=True)
                image.fromarray(values).save(path)
    train, _ = load_folder(tmp_path)
    for picture in train.images[:, 0]:
        np.testing.assert_allclose(picture, values / 65535, atol=1e-4)


@pytest.mark.parametrize("ink", [0, 255])
def test_transparent_background(tmp_path, ink):
    pixels = np.full((28, 28, 4), ink, np.uint8)
    pixels[..., 3] = 0
    pixels[6:20, 8:14, 3] = 255
    for name in "ab":
        for i in range(5):
            save(tmp_path / name / f"{i}.png", pixels)
    train, _ = load_folder(tmp_path)
    expected = np.zeros((28, 28))
    expected[6:20, 8:14] = 1
    np.testing.assert_allclose(train.images[0, 0], expected, atol=1e-5)
    assert ("inverted" in train.note) == (ink == 0)


def test_other_files_are_passed_over_and_counted(folder):
    (folder / "a" / "notes.txt").write_text("x")
    (folder / "a" / ".DS_Store").write_text("x")
    (folder / ".git").mkdir()
    (folder / "README.md").write_text("x")
    train, test = load_folder(folder)
    assert len(train) + len(test) == 16
    assert "1 other files or folders passed over" in train.note


def test_no_such_folder(tmp_path):
    with pytest.raises(DataError, match=r"path: expected a folder .*nowhere \(no such folder\)"):
        load_folder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"path: expected a folder .*file \(a file\)"):
        load_folder(tmp_path / "file")


def test_too_few_classes(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected at least two sub-folders.* got no sub-folders"):
        load_folder(tmp_path / "empty")
    with pytest.raises(DataError, match="got only 'shapes'"):
        (tmp_path / "empty").rmdir()
        load_folder(tmp_path)


def test_too_few_pictures(folder):
    (folder / "b" / "00.png").unlink()
    with pytest.raises(DataError, match=r"b: expected at least 5 pictures .* got 4"):
        load_folder(folder)


@pytest.mark.parametrize("content", [b"", b"no picture", "cut short"])
def test_an_unreadable_picture_is_named(folder, content):
    path = folder / "b" / "03.png"
    path.write_bytes(path.read_bytes()[:60] if content == "cut short" else content)
    with pytest.raises(DataError, match=r"03\.png: expected a picture"):
        load_folder(folder)


def test_wrong_image_size(folder):
    with pytest.raises(TypeError, match="image_size: expected a pair"):
        load_folder(folder, 28)
    with pytest.raises(ValueError, match="image_size: expected at least 1"):
        load_folder(folder, (28, 0))


def test_a_small_file_that_claims_to_be_huge_is_not_unpacked(folder):
    sizes = struct.pack(">II", 9000, 9000) + bytes([8, 0, 0, 0, 0])
    head = b"IHDR" + sizes
    header = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    empty = zlib.compress(b"")
    data = struct.pack(">I", len(empty)) + b"IDAT" + empty
    data += struct.pack(">I", zlib.crc32(b"IDAT" + empty))
    (folder / "a" / "00.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
    with pytest.raises(DataError, match=r"00\.png: .*9000 x 9000 pixels"):
        load_folder(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_among_the_pictures_is_not_waited_for(folder):
    os.mkfifo(folder / "a" / "zz.png")
    with pytest.raises(DataError, match=r"zz\.png: .*no regular file"):
        load_folder(folder)


# What people bring: each kind of file, and of folder


def classes_of(tmp_path: Path, write, n: int = 5, names: str = "ab") -> Path:
    """A folder with n pictures each of some classes; `write(path, i)` makes one without suffix."""
    for name in names:
        for i in range(n):
            path = tmp_path / "mine" / name / f"{i}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, i)
    return tmp_path / "mine"


CORNER = np.zeros((20, 28), np.uint8)
CORNER[2:7, 3:14] = 220  # upper left, wider than high


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_as_the_camera_meant(tmp_path, orientation, suffix):
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 3}[orientation]
    stored = np.rot90(CORNER[:, ::-1] if orientation in (2, 4, 5, 7) else CORNER, turns)

    def write(path, i):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {} if suffix == "tif" else {"quality": 95}
        picture = Image.fromarray(np.ascontiguousarray(stored))
        picture.save(path.with_suffix(f".{suffix}"), exif=exif, **options)

    train, _ = load_folder(classes_of(tmp_path, write), (20, 28))
    np.testing.assert_allclose(train.images[0, 0] * 255, CORNER, atol=14)  # JPEG and WebP lose


@pytest.mark.parametrize(
    ("dtype", "white"), [(np.uint8, 255), (np.uint16, 2**16 - 1), (np.uint32, 2**32 - 1)]
)
def test_numbers_are_scaled_by_what_their_format_holds(tmp_path, dtype, white):
    shares = np.zeros((28, 28))
    shares[9:12, 5:20] = 0.5
    shares[9:12, 8] = 1
    pixels = (shares * white).astype(dtype)
    folder = classes_of(tmp_path, lambda path, i: write_tiff(path, pixels, 1))
    train, _ = load_folder(folder)
    np.testing.assert_allclose(train.images[0, 0], shares, atol=1 / 255)
    assert "DARK" not in train.note


def write_tiff(path: Path, pixels: np.ndarray, sample_format: int) -> None:
    """The plainest TIFF: one strip, with the tag that says what its numbers are."""
    (h, w), body = pixels.shape, pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    entries = [
        (256, 4, w), (257, 4, h), (258, 3, pixels.itemsize * 8), (259, 3, 1), (262, 3, 1),
        (273, 4, 8), (277, 3, 1), (278, 4, h), (279, 4, len(body)), (339, 3, sample_format),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    head = b"II*\0" + struct.pack("<I", 8 + len(body))
    path.with_suffix(".tif").write_bytes(head + body + directory + bytes(4))


def test_floating_point_from_0_to_1(tmp_path):
    pixels = np.zeros((28, 28), np.float32)
    pixels[9:12, 5:20] = np.linspace(0.1, 1, 15)
    train, _ = load_folder(classes_of(tmp_path, lambda path, i: write_tiff(path, pixels, 3)))
    np.testing.assert_array_equal(train.images[0, 0], pixels)


@pytest.mark.parametrize(
    ("pixels", "sample_format", "match"),
    [
        (
            np.full((4, 4), 200, np.float32),
            3,
            "from 0, black, to 1, white: they go from 200 to 200",
        ),
        (np.full((4, 4), np.nan, np.float32), 3, "they go from nan to nan"),
        (np.full((4, 4), -0.5, np.float32), 3, "they go from -0.5 to -0.5"),
        (np.full((4, 4), 7, np.int16), 2, "which of them is white is not agreed"),
        (np.full((4, 4), 7, np.int32), 2, "which of them is white is not agreed"),
    ],
)
def test_numbers_without_an_agreed_white_are_refused(tmp_path, pixels, sample_format, match):
    folder = classes_of(tmp_path, lambda path, i: write_tiff(path, pixels, sample_format))
    with pytest.raises(DataError, match=rf"0\.tif: .*{match}"):
        load_folder(folder)


def test_twelve_bits_in_sixteen_are_said_aloud(tmp_path):
    pixels = np.zeros((28, 28), np.uint16)
    pixels[4:9, 4:9] = 4095
    train, _ = load_folder(classes_of(tmp_path, lambda path, i: write_tiff(path, pixels, 1)))
    assert train.images.max() == pytest.approx(4095 / 65535)
    assert "DARK: the brightest pixel of all has 0.062 of what its format can hold" in train.note


def test_the_content_decides_not_the_suffix(tmp_path):
    def write(path, i):
        Image.fromarray(CORNER).save(path.with_suffix(".png"), format="JPEG", quality=95)

    train, _ = load_folder(classes_of(tmp_path, write), (20, 28))
    np.testing.assert_allclose(train.images[0, 0] * 255, CORNER, atol=14)


def disc(colour: tuple[int, int, int], alpha: int = 255) -> np.ndarray:
    """A disc of one colour on a transparent ground."""
    y, x = np.indices((28, 28)) - 13.5
    pixels = np.zeros((28, 28, 4), np.uint8)
    pixels[y**2 + x**2 < 64] = (*colour, alpha)
    return pixels


def test_transparent_grounds_are_the_same_in_all_classes(tmp_path):
    """Red is dark and yellow bright: judged one by one, the ground would tell the class."""
    for name, colour in (("red", (255, 0, 0)), ("yellow", (255, 255, 0))):
        for i in range(5):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(disc(colour)).save(tmp_path / name / f"{i}.png")
    train, test = load_folder(tmp_path)
    for half in (train, test):
        assert (half.images[:, 0, 0, 0] == 0).all()
        np.testing.assert_allclose(
            half.images[:, 0, 14, 14], np.where(half.labels == 0, 0.299, 0.886), atol=1 / 255
        )
    assert "transparent parts, in 10 of them, count as black in all" in train.note


@pytest.mark.parametrize("paper", [0, 255])
def test_transparent_parts_are_as_the_paper_of_the_other_pictures(tmp_path, paper):
    for i in range(10):
        for name in "ab":
            (tmp_path / name).mkdir(exist_ok=True)
            opaque = np.full((28, 28), paper, np.uint8)
            opaque[9:18, 9:18] = 128
            picture = disc((128, 128, 128)) if i % 4 == 0 else opaque
            Image.fromarray(picture).save(tmp_path / name / f"{i}.png")
    train, _ = load_folder(tmp_path)
    assert (train.images[..., :3, :3] == 0).all()
    assert f"count as {'white' if paper else 'black'} in all" in train.note
    assert "unlike" not in train.note


@pytest.mark.parametrize("paper", [0, 255])
def test_one_transparent_pixel_says_nothing_about_the_ground(tmp_path, paper):
    pixels = np.full((28, 28, 4), paper, np.uint8)
    pixels[9:18, 12:16, :3] = 255 - paper
    pixels[..., 3] = 255
    pixels[14, 14, 3] = 254
    folder = classes_of(tmp_path, lambda path, i: Image.fromarray(pixels).save(f"{path}.png"))
    train, _ = load_folder(folder)
    assert (train.images[..., :9, :] == 0).all() and (train.images[..., 9:14, 12:16] == 1).all()
    assert ("inverted" in train.note) == bool(paper) and "in 10 of them" in train.note
    assert load_pictures([folder / "a" / "0.png"])[0, 0, 0, 0] == 0


def test_half_transparent_pixels_and_palettes(tmp_path):
    def write(path, i):
        if i % 2:
            Image.fromarray(disc((255, 255, 255), 204)).save(path.with_suffix(".png"))
        else:
            palette = Image.fromarray(np.where(disc((1, 1, 1))[..., 3] > 0, 1, 0).astype(np.uint8))
            palette = palette.convert("P")
            palette.putpalette([9, 20, 9, 204, 204, 204])
            palette.save(path.with_suffix(".png"), transparency=0)

    train, _ = load_folder(classes_of(tmp_path, write))
    assert (train.images[:, 0, 0, 0] == 0).all()
    np.testing.assert_allclose(train.images[:, 0, 14, 14], 0.8, atol=1 / 255)


def test_colour(tmp_path):
    pixels = np.zeros((28, 28, 3), np.uint8)
    pixels[3:9, 4:20] = (250, 100, 30)
    train, _ = load_folder(
        classes_of(tmp_path, lambda path, i: Image.fromarray(pixels).save(f"{path}.png")),
        channels=3,
    )
    assert train.images.shape[1:] == (3, 28, 28)
    np.testing.assert_allclose(train.images[0] * 255, pixels.transpose(2, 0, 1), atol=1e-3)
    grey, _ = load_folder(tmp_path / "mine")
    expected = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(grey.images[0, 0], expected, atol=1e-5)


def test_colour_on_white_is_inverted_and_grey_pictures_have_three_channels(tmp_path):
    def write(path, i):
        pixels = np.full((28, 28, 3), 255, np.uint8)
        pixels[3:9, 4:20] = (250, 100, 30)
        Image.fromarray(pixels if i else pixels[..., 1]).save(path.with_suffix(".png"))

    train, _ = load_folder(classes_of(tmp_path, write), channels=3)
    np.testing.assert_allclose(train.images[1, :, 4, 6] * 255, (5, 155, 225), atol=1e-3)
    np.testing.assert_allclose(train.images[0, :, 4, 6] * 255, (155, 155, 155), atol=1e-3)
    assert (train.images[..., 0, 0] == 0).all()


@pytest.mark.parametrize("channels", [0, 2, 4, True, "3", 3.0])
def test_wrong_channels(folder, channels):
    for read in (load_folder, lambda _, channels: load_pictures([], channels=channels)):
        with pytest.raises((TypeError, ValueError), match="^channels: "):
            read(folder, channels=channels)


def test_a_folder_that_is_split_already(folder, tmp_path):
    for half, names in (("Train", "ab"), ("test", "ab"), ("val", "b")):
        for name in names:
            for i in range(2 if half == "Train" else 1):
                save(tmp_path / "mine" / half / name / f"{i}.png", grey_rgb(shape_picture(i)))
    train, test = load_folder(tmp_path / "mine")
    assert train.labels.tolist() == [0, 0, 1, 1] and test.labels.tolist() == [0, 1]
    assert train.class_names == test.class_names == ("a", "b")
    assert "split as they are: Train/ 4, test/ 2" in train.note
    assert "val/ is not used" in train.note
    np.testing.assert_allclose(test.images[0, 0], shape_picture(0), atol=1 / 254)


def test_a_validation_half_stands_for_a_missing_test_half(tmp_path):
    for half in ("train", "valid"):
        for name in "ab":
            save(tmp_path / "mine" / half / name / "0.png", grey_rgb(shape_picture(1)))
    train, test = load_folder(tmp_path / "mine")
    assert len(train.images) == len(test.images) == 2
    assert "train/ 2, valid/ 2" in train.note and "not used" not in train.note


@pytest.mark.parametrize(
    ("folders", "match"),
    [
        (["train/a", "train/b"], "expected sub-folders train and test"),
        (["train/a", "train/b", "training/a", "test/a"], "got test, train, training"),
        (["train/a", "train/b", "test/a", "test/b", "test/c"], "the classes of train, got 'c'"),
        (["train/a", "train/b", "test/a"], r"b: expected at least 1 picture \("),
        (["train/a", "test/a"], "at least two sub-folders"),
    ],
)
def test_halves_that_do_not_fit(tmp_path, folders, match):
    for name in folders:
        save(tmp_path / "mine" / name / "0.png", grey_rgb(shape_picture(1)))
    with pytest.raises(DataError, match=match):
        load_folder(tmp_path / "mine")


def test_long_and_large_pictures_take_no_more_memory_than_their_pixels(tmp_path):
    """A few hundred bytes of file: nothing is completed to a square at full size."""
    line = Image.new("L", (2_000_000, 1), 255)
    folder = classes_of(tmp_path, lambda path, i: line.save(path.with_suffix(".png")))
    tracemalloc.start()
    train, _ = load_folder(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert train.images.max() < 1e-4 and peak < 60e6
