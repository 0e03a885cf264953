"""A user's own folder of pictures: read, turned the right way round, and refused in clear words."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imsave

from stn_np.data import DataError, load_folder


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
