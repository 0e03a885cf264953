"""Make stn_np/data/digits.npz: the handwritten digits that the package carries.

    python scripts/make_digits.py

Needs scikit-learn, which carries the test part of the UCI set "Optical Recognition of Handwritten
Digits" (E. Alpaydin and C. Kaynak, 1998, doi 10.24432/C50P49, CC BY 4.0). Pixels and labels are
stored as they are, as unsigned bytes. No date goes into the file, so the same zlib makes the same
bytes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parents[1] / "stn_np" / "data" / "digits.npz"


def main() -> None:
    """Write the file, and say what it is."""
    digits = load_digits()
    np.savez_compressed(
        TARGET, images=digits.images.astype(np.uint8), labels=digits.target.astype(np.uint8)
    )
    content = TARGET.read_bytes()
    print(f"{TARGET}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
