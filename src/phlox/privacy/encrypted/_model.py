"""What a server has: a model that answers encrypted inputs with encrypted outputs."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from phlox.core import Module, RangeError, check_size
from phlox.privacy import _peers
from phlox.privacy.encrypted._planning import EncryptionParameters, missing, plan, told, width_of
from phlox.privacy.encrypted._program import Affine, Numbers, Step, program_of

_WHERE = "EncryptedModel"


class EncryptedModel:
    """A model that computes on encrypted inputs, without a key that could decrypt them.

    The model is a ``px.Chain`` of affine layers (``Dense``, ``Conv``, ``MeanPool``, ``BatchNorm`` as it infers, …) and
    of ``px.privacy.Polynomial``, which ``px.privacy.with_polynomials`` puts in the place of activations. Each affine
    part becomes a product of the encrypted vector with a matrix, a convolution too.

    Arguments:
        model: the model; its weights stay here.
        input_shape: of one example, without the axis of the batch.
        scale_bits: numbers are whole multiples of 2 to minus so many, 20 to 50: fewer make ciphertexts and keys
            smaller, and answers less exact. None for as many, of 30 to 40, as the smallest ciphertexts have room for.

    Raises:
        StructureError: a part that is neither affine nor a polynomial, with its path.
        RangeError: more levels or numbers than secure parameters have room for; scale_bits out of range.

    Source: Gilad-Bachrach et al., "CryptoNets", 2016; Halevi and Shoup, "Algorithms in HElib", 2014.

    >>> import phlox as px
    >>> act = px.privacy.Polynomial([0.0, 0.5, 0.25])
    >>> px.privacy.EncryptedModel(px.Chain(px.Dense(64, 16, act), px.Dense(16, 10)), (64,))
    EncryptedModel((64,) → 10, levels=3, degree=8192): model.layers[0] 1, model.layers[0].act 2, model.layers[1] 3
    """

    steps: tuple[Step, ...]
    parameters: EncryptionParameters

    def __init__(self, model: Module, input_shape: tuple[int, ...], *, scale_bits: int | None = None):
        if scale_bits is not None and check_size(_WHERE, "scale_bits", scale_bits, least=20) > 50:
            fix = "give scale_bits a value from 20 to 50"
            raise RangeError("scale_bits of at most 50", got=repr(scale_bits), fix=fix, where=_WHERE)
        shape = tuple(check_size(_WHERE, "each size of input_shape", n) for n in input_shape)
        self.steps = program_of(model, shape)
        outputs = self.in_the_clear(np.zeros((1, *shape))).shape[1]
        self.parameters = plan(self.steps, shape, outputs, scale_bits)

    def in_the_clear(self, x: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(batch, outputs) the same steps on numbers that are not encrypted, in float64."""
        found = np.asarray(x, np.float64)
        found = found.reshape(len(found), -1)
        for step in self.steps:
            found = step(found)
        return found

    @cached_property
    def plain(self) -> list[Any]:
        """Of each step, what TenSEAL takes for its matrix or polynomial; made once for all clients."""
        ts = _peers.tenseal()
        return [
            ts.plain_tensor(s.matrix.tolist()) if isinstance(s, Affine) else list(s.coefficients) for s in self.steps
        ]

    def session(self, public: bytes) -> EncryptedSession:
        """What answers the client of some keys.

        Arguments:
            public: the client's ``EncryptionKeys.public()``.

        Raises:
            RangeError: keys with the secret one among them, which no server may hold; keys that are none, or too few,
                or for fewer levels or numbers than the model takes.
        """
        return EncryptedSession(self, public)

    def __repr__(self) -> str:
        p = self.parameters
        return (
            f"EncryptedModel({p.input_shape} → {p.outputs}, levels={p.levels}, degree={p.degree}): {told(self.steps)}"
        )


class EncryptedSession:
    """Answers to one client, whose public keys it holds."""

    def __init__(self, model: EncryptedModel, public: bytes):
        self._model, self._context = model, _checked(model, public)

    def answer(self, request: bytes) -> bytes:
        """The encrypted outputs for one encrypted example.

        Raises:
            RangeError: bytes that are no such example, or one that has been computed with before.
        """
        ts, where = _peers.tenseal(), "EncryptedSession.answer"
        fix = "pass what EncryptionKeys.encrypt gave, of the client whose session this is"
        try:
            x = ts.ckks_vector_from(self._context, request)
        except (ValueError, RuntimeError, TypeError) as error:
            raise RangeError("an encrypted example", got=str(error), fix=fix, where=where) from error
        wanted = self._model.parameters
        inputs, levels = prod(wanted.input_shape), _levels_left(x)
        if x.size() != inputs or levels < wanted.levels:
            what = f"{inputs} fresh numbers with {wanted.levels} levels"
            raise RangeError(what, got=f"{x.size()} with {levels}", fix=fix, where=where)
        for step, plain in zip(self._model.steps, self._model.plain, strict=True):
            x = x.mm(plain) + self._everywhere(step.bias) if isinstance(step, Affine) else x.polyval(plain)
        return x.serialize()

    def _everywhere(self, bias: Numbers) -> Any:
        """A bias as an encrypted vector: a plain one would not reach the copies that stand behind a vector."""
        return _peers.tenseal().ckks_vector(self._context, bias.tolist())


def _levels_left(x: Any) -> int:
    return min(c.coeff_modulus_size() for c in x.ciphertext()) - 1


def _checked(model: EncryptedModel, public: bytes) -> Any:
    """A client's context, refused where it holds what it should not, or lacks what it must have."""
    where = "EncryptedModel.session"
    fix = "send EncryptionKeys(parameters).public(), with the parameters of this model"
    try:
        context = _peers.tenseal().context_from(public)
    except (ValueError, RuntimeError, TypeError) as error:
        raise RangeError("public keys", got=str(error), fix=fix, where=where) from error
    if context.has_secret_key():
        what = "keys without the secret one, which stays with the client"
        raise RangeError(what, got="a secret key among them", fix=fix, where=where)
    lacking = [n for n in ("public_key", "relin_keys", "galois_keys") if not getattr(context, f"has_{n}")()]
    if lacking:
        raise RangeError("keys to encrypt, multiply and rotate", got=f"none of {lacking[0]}", fix=fix, where=where)
    first = context.seal_context().data.first_context_data()
    levels, slots = first.chain_index(), first.parms().poly_modulus_degree() // 2
    wanted = model.parameters
    width = width_of(model.steps, wanted.outputs)
    if levels < wanted.levels or slots < width:
        short = missing(model.steps, levels) or f"the model needs {width} slots"
        got = f"{levels} levels and {slots} slots: {short}"
        raise RangeError(f"keys for {wanted.levels} levels", got=got, fix=fix, where=where)
    return context
