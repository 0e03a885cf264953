"""What `stn-np gradcheck` has a row for."""

from __future__ import annotations

from typing import NamedTuple

from stn_np.backend import Array
from stn_np.gradcheck.probe import Function


class Operation(NamedTuple):
    """Something to check: a function, its inputs by name, and how far to move them."""

    name: str
    f: Function
    inputs: dict[str, Array]
    eps: float = 1e-5
