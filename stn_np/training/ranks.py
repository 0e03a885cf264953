"""Several processes that train one model: each works on its share of every batch.

Gradients, and what is measured, are added up over all of them. So all make the same update, and
keep the same weights without ever sending them. The first process alone writes files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from stn_np.backend import Array

#: Where launchers (Open MPI; MPICH, Intel MPI, and srun with PMI) say how many processes there are.
TOLD = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


class Ranks:
    """One process by itself; `MpiRanks` is one of several.

    Of several, all must make the same calls in the same order: each waits for the others.

    Attributes
    ----------
    rank, size : int
        Which one this is, from 0, and how many there are.
    """

    rank, size = 0, 1

    def share(self, n: int) -> slice:
        """Which of a batch's n examples are this process's."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def add_up(self, arrays: Sequence[Array]) -> None:
        """Put the sum over all processes into each array (NumPy, of floats), in place.

        All get the same bits: MPI recommends it, and the usual ones keep to it.
        """

    def any(self, flag: bool) -> bool:
        """Whether it is true in one of the processes."""
        return flag

    def meet(self) -> None:
        """Wait until all are here."""

    def end_all(self, code: int) -> None:
        """End all processes, those that wait for this one too."""


class MpiRanks(Ranks):
    """One of the processes that ``mpiexec`` has started.

    Parameters
    ----------
    communicator
        Of mpi4py.
    """

    def __init__(self, communicator: Any) -> None:
        self._comm = communicator
        self.rank, self.size = communicator.Get_rank(), communicator.Get_size()

    def add_up(self, arrays: Sequence[Array]) -> None:
        """In one message for each dtype."""
        from mpi4py import MPI

        for dtype in dict.fromkeys(x.dtype for x in arrays):
            those = [x for x in arrays if x.dtype == dtype]
            message = np.concatenate([x.ravel() for x in those])
            self._comm.Allreduce(MPI.IN_PLACE, message, op=MPI.SUM)
            ends = np.cumsum([x.size for x in those])[:-1]
            for x, total in zip(those, np.split(message, ends), strict=True):
                x[...] = total.reshape(x.shape)

    def any(self, flag: bool) -> bool:
        """Whether it is true in one of the processes."""
        from mpi4py import MPI

        return bool(self._comm.allreduce(int(flag), op=MPI.MAX))

    def meet(self) -> None:
        """Wait until all are here."""
        self._comm.Barrier()

    def end_all(self, code: int) -> None:
        """End all processes at once."""
        self._comm.Abort(code)


#: Of a program that nobody has started several times.
ALONE = Ranks()


def launched() -> Ranks:
    """The processes that were launched together with this one, or `ALONE`.

    Raises
    ------
    ValueError
        If this is one of several, and mpi4py is not installed, or knows nothing of the others.
    """
    told = next((os.environ[name] for name in TOLD if name in os.environ), "1")
    if "PMIX_RANK" in os.environ and "SLURM_NTASKS" in os.environ:  # srun with PMIx
        told = os.environ["SLURM_NTASKS"]
    if told == "1":
        return ALONE
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as e:
        raise ValueError(
            f"mpiexec: needs mpi4py, which cannot be used here ({e}); pip install 'stn-np[mpi]'"
        ) from e
    if MPI.COMM_WORLD.Get_size() == 1:
        raise ValueError(
            f"mpiexec: expected {told} processes, and mpi4py sees one: it belongs to another MPI "
            f"({MPI.Get_library_version().split(chr(10))[0]}) than the program that started this"
        )
    return MpiRanks(MPI.COMM_WORLD)
