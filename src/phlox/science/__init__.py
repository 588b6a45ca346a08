"""Science: models that hold what is known of the world; equations are solved by Diffrax and Optimistix.

equations/        px.science.NeuralODE, NeuralSDE, NeuralCDE, LatentODE, UniversalField: differential equations
mechanics/        HamiltonianField, LagrangianField, SymplecticODE, SympNet: motion by energies
implicit/         DeepEquilibrium, ImplicitLayer: solutions of equations
physics/          PINN, Field, Box, minimise: networks that are taught an equation, without data
operators/        FNO, DeepONet: layers from functions to functions
graphs/           Graph, GCNConv, GATConv, SAGEConv, EGNN, MessagePassing: nodes that hear from their neighbours
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
from phlox.science.graphs._attention import GATConv, GATv2Conv
from phlox.science.graphs._chain import GraphChain, GraphPool
from phlox.science.graphs._convolutions import GCNConv, SAGEConv
from phlox.science.graphs._equivariant import EGCL, EGNN
from phlox.science.graphs._gathering import add_self_loops, batch_graphs, pad_graph, to_undirected, unbatch_graphs
from phlox.science.graphs._graph import Graph
from phlox.science.graphs._message import GraphLayer, MessagePassing
from phlox.science.implicit._equilibrium import DeepEquilibrium, ImplicitLayer
from phlox.science.implicit._root import Root
from phlox.science.mechanics._hamiltonian import HamiltonianField, SymplecticODE
from phlox.science.mechanics._lagrangian import LagrangianField
from phlox.science.mechanics._symplectic import Shear, SympNet
from phlox.science.operators._deeponet import DeepONet
from phlox.science.operators._fourier import FNO, FourierLayer
from phlox.science.operators._spectral import SpectralConv
from phlox.science.physics._box import Box
from phlox.science.physics._causal import Causal
from phlox.science.physics._field import Field
from phlox.science.physics._hard import FourierFeatures, HardConstraint, PeriodicFeatures
from phlox.science.physics._minimise import Minimum, minimise
from phlox.science.physics._parts import DomainDecomposition
from phlox.science.physics._pinn import PINN, physics_loss

__all__ = [
    "ADJOINTS",
    "EGCL",
    "EGNN",
    "FNO",
    "ODE_SOLVERS",
    "PINN",
    "SDE_SOLVERS",
    "Box",
    "Causal",
    "DeepEquilibrium",
    "DeepONet",
    "DomainDecomposition",
    "Event",
    "Field",
    "FourierFeatures",
    "FourierLayer",
    "GATConv",
    "GATv2Conv",
    "GCNConv",
    "Graph",
    "GraphChain",
    "GraphLayer",
    "GraphPool",
    "HamiltonianField",
    "HardConstraint",
    "ImplicitLayer",
    "LagrangianField",
    "LatentODE",
    "MessagePassing",
    "Minimum",
    "NeuralCDE",
    "NeuralODE",
    "NeuralSDE",
    "PeriodicFeatures",
    "Root",
    "SAGEConv",
    "Shear",
    "Solution",
    "SolverError",
    "SpectralConv",
    "SympNet",
    "SymplecticODE",
    "UniversalField",
    "add_self_loops",
    "batch_graphs",
    "minimise",
    "pad_graph",
    "physics_loss",
    "to_undirected",
    "unbatch_graphs",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
