"""Files from public mirrors, checked before they get their name. pooch is imported on use."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stn_np.data.dataset import DataUnavailableError
from stn_np.data.idx import read_idx

#: Tried in this order.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

#: Seconds that a mirror has to answer at all, name look-up included.
ANSWER_WITHIN = 8.0

#: Seconds for (connecting, each pause between two packets).
TIMEOUT = (5.0, 10.0)


def download_files(wanted: Mapping[str, str], folder: Path) -> None:
    """Download IDX files into a folder, each from the first mirror that gives the right content.

    Parameters
    ----------
    wanted
        File name to the SHA-256 of the uncompressed content.
    folder
        Where they go; made if needed. A file appears there only once its content has been checked.

    Raises
    ------
    DataUnavailableError
        If no mirror gave all of them, with the cause for each mirror.
    """
    import pooch

    logger = pooch.get_logger()
    logger.info("Downloading %s to %s", ", ".join(wanted), folder)
    logger.disabled = True  # the line above is all that need be said
    try:
        causes = []
        for mirror in MIRRORS:
            cause = _download_from(mirror, wanted, folder)
            if cause is None:
                return
            causes.append(f"{mirror} ({cause})")
    finally:
        logger.disabled = False
    raise DataUnavailableError(f"could not be downloaded from {' or '.join(causes)}")


def _download_from(mirror: str, wanted: Mapping[str, str], folder: Path) -> str | None:
    """Download what is not yet in the folder. Returns the cause of a failure, or None."""
    try:
        _await_answer(mirror + next(iter(wanted)))
        for name, sha256 in wanted.items():
            _download_file(mirror + name, sha256, folder / name)
    except (OSError, ValueError) as error:  # network errors are OSErrors, a DataError a ValueError
        return _short_cause(error)
    return None


def _await_answer(url: str) -> None:
    """Give the server a few seconds to say anything.

    The time-outs of a connection count for each of the server's addresses, and that of a name
    look-up cannot be set: behind a firewall that swallows packets, they add up to minutes.
    """
    outcome: list[Exception] = []

    def ask() -> None:
        try:
            _http()(url, None, None, check_only=True)
        except Exception as error:  # handed to the waiting thread, whatever it is
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_WITHIN)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {ANSWER_WITHIN:g} s")
    if outcome:
        raise outcome[0]


def _download_file(url: str, sha256: str, path: Path) -> None:
    """One file, unless it is there. pooch renames its temporary file if the check passes."""
    import pooch

    def download_and_check(url: str, output_file: str, pooch: Any) -> None:
        _http()(url, output_file, pooch)
        read_idx(output_file, sha256=sha256, name=url)

    pooch.retrieve(url, None, fname=path.name, path=path.parent, downloader=download_and_check)


def _http() -> Any:
    """What fetches one URL: ``(url, output_file, pooch, check_only=False)``."""
    import pooch

    return pooch.HTTPDownloader(chunk_size=1 << 16, timeout=TIMEOUT)


def _short_cause(error: BaseException) -> str:
    """The innermost reason of a network error, which comes wrapped three times, in one line."""
    inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    if isinstance(inner, BaseException):
        return _short_cause(inner)
    text = str(error)
    if "Connection" in text.partition(": ")[0]:  # the connection's own description comes first
        text = text.partition(": ")[2]
    return f"{type(error).__name__}: {textwrap.shorten(text, 400)}"
