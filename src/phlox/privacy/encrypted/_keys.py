"""What a client keeps: the secret key, with which it encrypts and decrypts; what it gives away has none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from phlox.core import RangeError, ShapeError, StructureError, describe
from phlox.privacy import _peers
from phlox.privacy.encrypted._planning import EncryptionParameters

_WHERE = "EncryptionKeys"


class EncryptionKeys:
    """Keys of a client, drawn from the system's entropy; ``public()`` is all of them that a server gets.

    Numbers that were decrypted carry a little of the noise that hides the key. Whoever asked for them may keep them;
    they are not to be published digit by digit, nor sent back to the server.

    Arguments:
        parameters: those of the ``px.privacy.EncryptedModel`` that shall answer.

    Raises:
        MissingExtraError: TenSEAL is not installed.

    Source: Cheon, Kim, Kim and Song, "Homomorphic encryption for arithmetic of approximate numbers", 2017; Li and
    Micciancio, "On the security of homomorphic encryption on approximate numbers", 2021.

    >>> import numpy as np, phlox as px
    >>> model = px.privacy.EncryptedModel(px.Dense(4, 2, key=0), (4,))
    >>> keys = px.privacy.EncryptionKeys(model.parameters)
    >>> session = model.session(keys.public())                            # at the server
    >>> answer = keys.decrypt(session.answer(keys.encrypt(np.ones(4))))
    >>> bool(np.allclose(answer, px.Dense(4, 2, key=0)(np.ones((1, 4), "float32")), atol=1e-3))
    True
    """

    parameters: EncryptionParameters

    def __init__(self, parameters: EncryptionParameters):
        ts = _peers.tenseal()
        self.parameters = parameters
        degree, bits = parameters.degree, list(parameters.bits)
        context = ts.context(ts.SCHEME_TYPE.CKKS, poly_modulus_degree=degree, coeff_mod_bit_sizes=bits)
        context.global_scale = 2.0**parameters.scale_bits
        context.generate_galois_keys()
        self._context = context

    def public(self) -> bytes:
        """What a server needs to compute: keys that encrypt, multiply and rotate, and none that decrypts."""
        return self._context.serialize(save_secret_key=False)

    def encrypt(self, x: Any) -> bytes:
        """One example, encrypted.

        Raises:
            ShapeError: an example of another shape, or several.
        """
        found = np.asarray(x, np.float64)
        if found.shape != self.parameters.input_shape:
            shape = list(self.parameters.input_shape)
            fix = "encrypt each example by itself, without an axis of the batch"
            raise ShapeError(f"one example, {shape}", got=describe(found), fix=fix, where=f"{_WHERE}.encrypt")
        return _peers.tenseal().ckks_vector(self._context, found.ravel().tolist()).serialize()

    def decrypt(self, answer: bytes) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(outputs,) the numbers of an answer.

        Raises:
            RangeError: what is no answer to these keys.
        """
        try:
            found = _peers.tenseal().ckks_vector_from(self._context, answer)
            return np.asarray(found.decrypt())
        except (ValueError, RuntimeError, TypeError) as error:
            fix = "pass the bytes that the session of a px.privacy.EncryptedModel gave for these keys"
            raise RangeError("an encrypted answer", got=str(error), fix=fix, where=f"{_WHERE}.decrypt") from error

    def save(self, path: str | Path) -> None:
        """Write the keys, the secret one among them, into a file that its owner alone can read.

        Raises:
            FileExistsError: there is a file of that name.
        """
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(self._context.serialize(save_secret_key=True))

    @classmethod
    def load(cls, path: str | Path, parameters: EncryptionParameters) -> EncryptionKeys:
        """The keys of a file that ``save`` wrote.

        Raises:
            RangeError: what holds no secret key.
        """
        context = _peers.tenseal().context_from(Path(path).read_bytes())
        if not context.has_secret_key():
            fix = "give the file that EncryptionKeys.save wrote"
            raise RangeError("a file with a secret key", got="public keys", fix=fix, where=f"{_WHERE}.load")
        self = cls.__new__(cls)
        self.parameters, self._context = parameters, context
        return self

    def __reduce__(self) -> NoReturn:
        raise StructureError(
            "to stay in the process that made them",
            got="a copy of the secret key by pickle",
            fix="send keys.public() to a server; keys.save(path) keeps them for yourself",
            where=_WHERE,
        )

    def __repr__(self) -> str:
        return f"EncryptionKeys(degree={self.parameters.degree}, levels={self.parameters.levels})"
