"""Gradients that can be read, checked and rewritten.

From below to above:

_arguments    what a user calls the arrays among the arguments
_writing      formulas that compute on arrays and are written out on names
_rules        the table of reverse mode, a rule for each operation; read it first
_places       rules of gathers, scatters and parts whose place is computed
_windows      rules of convolutions, and of sums and extremes over windows
_program      a traced function as a flat list of lines
_walk         the walk back over them
_linear_algebra  rules of decompositions and linear systems
_control      rules of loops, branches and functions with rules of their own
_rewriting    rules replaced, cotangents changed on their way
_listing      a program as text, and what its lines cost
_backward     px.autodiff.backward: the gradient of a function as a program
_flow_report  what a look at its way through a model found, as a table and a picture
_flow         px.autodiff.gradient_flow: where a gradient vanishes, explodes or becomes NaN
derivatives/  px.autodiff.derivative: forward, reverse, finite, sparse and Taylor mode, prepared once
_gradcheck    px.gradcheck, px.gradgradcheck: gradients beside measured slopes
"""

from phlox.autodiff._backward import Backward, backward
from phlox.autodiff._flow import gradient_flow
from phlox.autodiff._flow_report import GradientFlow, LayerFlow, ParameterFlow, Place
from phlox.autodiff._gradcheck import GradientCheck, GradientError, gradcheck, gradgradcheck
from phlox.autodiff._listing import Row

# Names imported as themselves serve the rooms above; they are not in __all__.
from phlox.autodiff._program import Flat as Flat
from phlox.autodiff._program import Line as Line
from phlox.autodiff._program import flat as flat
from phlox.autodiff._rules import ELEMENTWISE as ELEMENTWISE
from phlox.autodiff._rules import RULES as RULES
from phlox.autodiff._rules import STOPS as STOPS
from phlox.autodiff._rules import Rule as Rule
from phlox.autodiff._walk import Step as Step
from phlox.autodiff._walk import walk as walk
from phlox.autodiff._windows import extremes as extremes
from phlox.autodiff._windows import spread_to as spread_to
from phlox.autodiff.derivatives._derivative import Derivative, derivative

__all__ = [
    "Backward",
    "Derivative",
    "GradientCheck",
    "GradientError",
    "GradientFlow",
    "LayerFlow",
    "ParameterFlow",
    "Place",
    "Row",
    "backward",
    "derivative",
    "gradcheck",
    "gradgradcheck",
    "gradient_flow",
]
