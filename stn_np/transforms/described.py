"""How the families print."""

from __future__ import annotations


class Described:
    """A family that prints as ``Affine(6 numbers)``."""

    n_params: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._describe()})"

    def _describe(self) -> str:
        """The settings that `repr` shows, in one line."""
        return f"{self.n_params} numbers"
