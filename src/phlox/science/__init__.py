"""Science: models that hold what is known of the world, over Diffrax and Optimistix.

equations/        px.science.NeuralODE, NeuralSDE, NeuralCDE, LatentODE, UniversalField: differential equations
mechanics/        HamiltonianField, LagrangianField, SymplecticODE, SympNet: motion by energies
implicit/         DeepEquilibrium, ImplicitLayer: solutions of equations
physics/          PINN, Field, Box, minimise: networks that are taught an equation, without data
_inside           a Module inside a solver
_checks _errors   what layers are made with; a solver that did not come to its end
_peers            the libraries that solve, imported where they are used
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.science._errors import SolverError
from phlox.science.equations._cde import NeuralCDE
from phlox.science.equations._equation import Solution
from phlox.science.equations._event import Event
from phlox.science.equations._latent import LatentODE
from phlox.science.equations._names import ADJOINTS, ODE_SOLVERS, SDE_SOLVERS
from phlox.science.equations._ode import NeuralODE
from phlox.science.equations._sde import NeuralSDE
from phlox.science.equations._universal import UniversalField
from phlox.science.implicit._equilibrium import DeepEquilibrium, ImplicitLayer
from phlox.science.implicit._root import Root
from phlox.science.mechanics._hamiltonian import HamiltonianField, SymplecticODE
from phlox.science.mechanics._lagrangian import LagrangianField
from phlox.science.mechanics._symplectic import Shear, SympNet
from phlox.science.physics._box import Box
from phlox.science.physics._causal import Causal
from phlox.science.physics._field import Field
from phlox.science.physics._hard import FourierFeatures, HardConstraint, PeriodicFeatures
from phlox.science.physics._minimise import Minimum, minimise
from phlox.science.physics._parts import DomainDecomposition
from phlox.science.physics._pinn import PINN, physics_loss

__all__ = [
    "ADJOINTS",
    "ODE_SOLVERS",
    "PINN",
    "SDE_SOLVERS",
    "Box",
    "Causal",
    "DeepEquilibrium",
    "DomainDecomposition",
    "Event",
    "Field",
    "FourierFeatures",
    "HamiltonianField",
    "HardConstraint",
    "ImplicitLayer",
    "LagrangianField",
    "LatentODE",
    "Minimum",
    "NeuralCDE",
    "NeuralODE",
    "NeuralSDE",
    "PeriodicFeatures",
    "Root",
    "Shear",
    "Solution",
    "SolverError",
    "SympNet",
    "SymplecticODE",
    "UniversalField",
    "minimise",
    "physics_loss",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
