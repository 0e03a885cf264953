"""Spatial Transformer Networks (Jaderberg et al. 2015) from scratch in NumPy.

Every differentiable thing is a callable that returns its value and its pullback::

    grid, grid_backward = stn_np.affine_grid(theta, (H, W))
    V, sample_backward = stn_np.grid_sample(U, grid)
    dU, dgrid = sample_backward(dV)
    dtheta = grid_backward(dgrid)

`SpatialTransformer` joins them with a localisation net; `transforms` and `sampling` have every
family and kernel; `layers`, `models` and `training` the rest of the paper's networks; ``stn-np
--help`` is the command line. To read the paper with the code beside it: ``notebooks/`` and
``docs/`` in the repository.
"""

import importlib
from types import ModuleType

from stn_np import data, layers, models, renamed, sampling, transforms
from stn_np.gradcheck import GradcheckError, gradcheck
from stn_np.sampling import affine_sample, grid_sample
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import affine_grid
from stn_np.version import __version__ as __version__

renamed.install()

__all__ = [
    "GradcheckError",
    "SpatialTransformer",
    "affine_grid",
    "affine_sample",
    "data",
    "gradcheck",
    "grid_sample",
    "layers",
    "models",
    "sampling",
    "transforms",
]


def __getattr__(name: str) -> ModuleType:
    """What most do without is imported when it is first asked for."""
    if name in ("experiments", "plots", "points", "training"):
        return importlib.import_module(f"stn_np.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
