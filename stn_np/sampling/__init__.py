"""The sampler: V from U and a grid (section 3.3 of the paper)."""

from stn_np.sampling import kernels
from stn_np.sampling.affine_sample import affine_sample
from stn_np.sampling.grid_sample import grid_sample
from stn_np.sampling.kernels import Kernel
from stn_np.sampling.linearised import Linearised
from stn_np.sampling.padding import PADDING_MODES
from stn_np.sampling.reference import sample_reference
from stn_np.sampling.rules import MODES, Mode

__all__ = [
    "MODES",
    "PADDING_MODES",
    "Kernel",
    "Linearised",
    "Mode",
    "affine_sample",
    "grid_sample",
    "kernels",
    "sample_reference",
]
