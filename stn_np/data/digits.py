"""The 1,797 handwritten digits that travel with the package, for work without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stn_np.data.dataset import DataError, Dataset, split
from stn_np.data.resample import resample

#: Made by scripts/make_digits.py; source and licence in DIGITS-LICENCE.md beside it.
FILE = Path(__file__).with_name("digits.npz")

#: The file's pixels count 0 to 16 ink dots each.
INK = 16

#: The field of MNIST, and the side in it of the box that the 8 x 8 pixels fill, as in MNIST.
FIELD, BOX = 28, 20


def load_digits() -> tuple[Dataset, Dataset]:
    """Real handwritten digits, 1,442 for training and 355 for testing, as MNIST would show them.

    Returns
    -------
    train, test : Dataset
        Images (N, 1, 28, 28) float32 in [0, 1], background 0. Every fifth picture of each class is
        held out, whatever the seed.

    Raises
    ------
    DataError
        If the file in the package is missing or damaged.

    Notes
    -----
    The 8 x 8 pixels are enlarged 2.5 times to a 20 x 20 box in the middle of 28 x 28, bilinearly
    and by the library's own sampler. A box of that size turns inside the field without being cut.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, 1998, doi 10.24432/C50P49, CC BY 4.0: its test part, as scikit-learn
    carries it. The 13 writers of that part are in both halves of our split.
    """
    counts, labels = read_digits()
    images = resample(counts[:, None] / np.float32(INK), (FIELD, FIELD), counts.shape[-1] / BOX)
    names = tuple(str(digit) for digit in range(10))
    note = "the 1,797 UCI digits embedded in the package, 8x8 pixels enlarged to 28x28"
    return split(Dataset("digits", images, labels, names, note))


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """The file's content as it is.

    Returns
    -------
    counts : NDArray of float32
        (1797, 8, 8), whole numbers from 0 to 16.
    labels : NDArray of int64
        (1797,), 0 to 9.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    """
    try:
        # Opened here, because np.load leaves a damaged file open.
        with FILE.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return file["images"].astype(np.float32), file["labels"].astype(np.int64)
    except Exception as error:  # np.load raises half a dozen types for a damaged file
        raise DataError(
            f"{FILE}: expected the package's own digits, got a file that cannot be read ({error}); "
            "install the package anew"
        ) from error
