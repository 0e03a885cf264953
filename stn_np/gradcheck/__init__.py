"""The gradient checker, and the list of the library's own operations that it is run on.

To read: `check` first, then `finite_differences`, where the slope and the kinks are found.
"""

from stn_np.gradcheck.check import gradcheck
from stn_np.gradcheck.operation import Operation
from stn_np.gradcheck.operations import Row, operations, table
from stn_np.gradcheck.parameters import parameters_as_inputs
from stn_np.gradcheck.report import GradcheckError, InputResult, Report

__all__ = [
    "GradcheckError",
    "InputResult",
    "Operation",
    "Report",
    "Row",
    "gradcheck",
    "operations",
    "parameters_as_inputs",
    "table",
]
