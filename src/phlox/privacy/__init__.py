"""Privacy: trainings that tell little of any one example, and models that answer what they cannot read.

private/      px.privacy.PrivateOptimizer: differentially private training, over dp-accounting
encrypted/    px.privacy.EncryptedModel: inference on encrypted inputs, over TenSEAL
_checks       what is given, refused where it is given
_peers        the libraries, imported where they are used
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.privacy.encrypted._keys import EncryptionKeys
from phlox.privacy.encrypted._model import EncryptedModel, EncryptedSession
from phlox.privacy.encrypted._planning import EncryptionParameters
from phlox.privacy.encrypted._polynomial import Polynomial, with_polynomials
from phlox.privacy.private._accounting import account, bound_advantage, calibrate
from phlox.privacy.private._attack import MembershipAttack, attack_membership
from phlox.privacy.private._optimizer import PrivateOptimizer
from phlox.privacy.private._sampling import PoissonLoader, Sampled
from phlox.privacy.private._step import PrivateStep

__all__ = [
    "EncryptedModel",
    "EncryptedSession",
    "EncryptionKeys",
    "EncryptionParameters",
    "MembershipAttack",
    "PoissonLoader",
    "Polynomial",
    "PrivateOptimizer",
    "PrivateStep",
    "Sampled",
    "account",
    "attack_membership",
    "bound_advantage",
    "calibrate",
    "with_polynomials",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
