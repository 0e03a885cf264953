"""The figures of the paper that a run of ours can be held against."""

from __future__ import annotations

#: Test error in % on distorted MNIST, mean of three seeds: section 4.1, table 1, by
#: (model, transform or "none", distortion).
TEST_ERROR: dict[tuple[str, str, str], float] = {
    ("fcn", "none", "R"): 2.1,
    ("fcn", "none", "RTS"): 5.2,
    ("cnn", "none", "R"): 1.2,
    ("cnn", "none", "RTS"): 0.8,
    ("st-fcn", "affine", "R"): 1.2,
    ("st-fcn", "affine", "RTS"): 0.8,
    ("st-cnn", "affine", "R"): 0.7,
    ("st-cnn", "affine", "RTS"): 0.5,
}


def paper_error(data: str, distortion: str, model: str, transform: str | None) -> float | None:
    """The paper's test error in % for the same cell of its table, or None where it has none.

    Parameters
    ----------
    data
        Name of the data set; the paper's table is of "mnist" only.
    distortion, model
        As on the command line.
    transform
        Name of the transform, None for a model without one.
    """
    if data != "mnist":
        return None
    return TEST_ERROR.get((model, transform or "none", distortion))


def why_different(n_steps: int, optimizer: str) -> str:
    """In words, why a run's error and the paper's may differ."""
    return (
        "the paper's is the mean of three runs of 150,000 iterations of SGD, with models of about "
        "twice as many parameters (400,000, if we remember rightly); this is one run of "
        f"{n_steps:,} iterations of {optimizer}"
    )
