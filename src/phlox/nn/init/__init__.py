"""Initialisers: recipes that draw an array from a key and a shape.

Every one is used bare or with keywords, ``init=glorot_uniform`` or ``init=glorot_uniform(gain=2.0)``,
and draws as ``init(key, shape, dtype)``. Layouts are (in, out) for Dense and (k..., in/groups, out)
for convolutions.

_initializer            what an initialiser is; read it first
_random _structured     drawn alike; orthogonal, sparse, constant
_fans                   inputs and outputs that a weight joins

>>> import jax
>>> glorot_uniform(gain=2.0)
glorot_uniform(gain=2.0)
>>> glorot_uniform(gain=2.0)(jax.random.key(0), (784, 128)).shape
(784, 128)

========================================== ==================================================================
``glorot_uniform glorot_normal``           variance ``gain**2 * 2 / (fan_in + fan_out)``; Glorot & Bengio (2010)
``kaiming_uniform kaiming_normal``         variance ``gain**2 / fan``, gain sqrt(2); He et al. (arXiv:1502.01852)
``lecun_uniform lecun_normal``             variance ``gain**2 / fan``, the normal truncated; LeCun et al. (1998)
``uniform normal truncated_normal``        the distribution itself; ``truncated_normal`` keeps the asked-for std
``zeros ones constant(value)``             constants
``orthogonal``                             orthonormal columns or rows; Saxe et al. (arXiv:1312.6120)
``delta_orthogonal``                       orthogonal at the central tap; Xiao et al. (arXiv:1806.05393)
``sparse``                                 few outputs per input; Martens (2010)
``eye identity_init dirac``                identities for matrices, for any layer, for convolutions with groups
========================================== ==================================================================

The scaled ones also take ``mode="fan_in" | "fan_out" | "fan_avg"``. ``xavier_*`` and ``he_*`` are other
names of ``glorot_*`` and ``kaiming_*``.
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.nn.init._fans import calculate_gain, fans
from phlox.nn.init._initializer import Initializer
from phlox.nn.init._random import Glorot, Kaiming, Lecun, Normal, TruncatedNormal, Uniform
from phlox.nn.init._structured import (
    Constant,
    DeltaOrthogonal,
    Dirac,
    Eye,
    Identity,
    Ones,
    Orthogonal,
    Sparse,
    Zeros,
)

__all__ = [
    "Initializer",
    "calculate_gain",
    "constant",
    "delta_orthogonal",
    "dirac",
    "eye",
    "fans",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity_init",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "sparse",
    "truncated_normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

glorot_uniform: Glorot = Glorot(distribution="uniform", name="glorot_uniform")
glorot_normal: Glorot = Glorot(distribution="normal", name="glorot_normal")
kaiming_uniform: Kaiming = Kaiming(distribution="uniform", name="kaiming_uniform")
kaiming_normal: Kaiming = Kaiming(distribution="normal", name="kaiming_normal")
lecun_uniform: Lecun = Lecun(distribution="uniform", name="lecun_uniform")
lecun_normal: Lecun = Lecun(distribution="truncated_normal", name="lecun_normal")
xavier_uniform: Glorot = glorot_uniform
xavier_normal: Glorot = glorot_normal
he_uniform: Kaiming = kaiming_uniform
he_normal: Kaiming = kaiming_normal

uniform: Uniform = Uniform(name="uniform")
normal: Normal = Normal(name="normal")
truncated_normal: TruncatedNormal = TruncatedNormal(name="truncated_normal")
zeros: Zeros = Zeros(name="zeros")
ones: Ones = Ones(name="ones")
orthogonal: Orthogonal = Orthogonal(name="orthogonal")
delta_orthogonal: DeltaOrthogonal = DeltaOrthogonal(name="delta_orthogonal")
sparse: Sparse = Sparse(name="sparse")
identity_init: Identity = Identity(name="identity_init")
dirac: Dirac = Dirac(name="dirac")
eye: Eye = Eye(name="eye")


def constant(value: complex) -> Constant:
    """The initialiser that fills with ``value``.

    >>> constant(0.5)
    constant(value=0.5)
    """
    return Constant(value, name="constant")


if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
