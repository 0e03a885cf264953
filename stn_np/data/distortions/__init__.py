"""The paper's distortions of MNIST (section 4.1, A.4), one kind a file.

========  ==============================================  ==================
kind      what happens to a picture                       file
========  ==============================================  ==================
R         turned by up to 90 degrees                      ``rotation.py``
RTS       turned, scaled, put somewhere in 42 x 42        ``rotation.py``
P         scaled, its corners moved: seen in perspective  ``projective.py``
E         scaled, bent by a thin plate spline             ``elastic.py``
TC        put somewhere in 60 x 60, among other pieces    ``cluttered.py``
========  ==============================================  ==================

Each file says what the paper states and what is decided here.
"""

from stn_np.data.distortions.kinds import (
    KINDS,
    Distortion,
    distort,
    distorted_size,
    fixed_test_set,
    fixed_test_theta,
    random_theta,
)
from stn_np.data.distortions.warping import warp

__all__ = [
    "KINDS",
    "Distortion",
    "distort",
    "distorted_size",
    "fixed_test_set",
    "fixed_test_theta",
    "random_theta",
    "warp",
]
