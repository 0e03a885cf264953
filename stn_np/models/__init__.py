"""The paper's networks for distorted MNIST (section 4.1 and appendix A.4)."""

from stn_np.models.build import FILTERS, NAMES, Model, build
from stn_np.models.networks import regression
from stn_np.models.summary import summary

__all__ = ["FILTERS", "NAMES", "Model", "build", "regression", "summary"]
