"""What a program takes of CKKS: levels, slots, and the primes and degree that give them at 128 bits of security."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from phlox.core import RangeError
from phlox.privacy.encrypted._program import Affine, Power, Step

_WHERE = "EncryptedModel"
MOST_BITS = {4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Bits of all primes together that are 128 bits secure, by the degree of the polynomials.

Source: Albrecht et al., "Homomorphic encryption security standard", 2018, table 1.
"""
_ROOM = 20  # bits of the first prime above the scale: numbers of the answer may be as large as 2 to these less one
_LONGEST = 60  # bits of one prime
_SCALES = range(40, 29, -1)  # bits that are tried where none are asked for


@dataclass(frozen=True)
class EncryptionParameters:
    """What client and server have to agree on; nothing in it is secret, and nothing tells the model's weights.

    Arguments:
        input_shape: of one example.
        outputs: numbers of the answer.
        degree: of the polynomials that ciphertexts are; half as many numbers fit into one.
        bits: of each prime, the first, one for each level, and one for keys.
        scale_bits: numbers are whole multiples of 2 to minus so many.
    """

    input_shape: tuple[int, ...]
    outputs: int
    degree: int
    bits: tuple[int, ...]
    scale_bits: int

    @property
    def levels(self) -> int:
        """How many products can follow each other."""
        return len(self.bits) - 2

    @property
    def slots(self) -> int:
        """Numbers in one ciphertext."""
        return self.degree // 2

    def to_json(self) -> str:
        """For the client."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> EncryptionParameters:
        """The way back.

        >>> made = EncryptionParameters((4,), 3, 8192, (50, 30, 50), 30)
        >>> EncryptionParameters.of_json(made.to_json()) == made
        True
        """
        found: dict[str, Any] = json.loads(text)
        return cls(**{**found, "input_shape": tuple(found["input_shape"]), "bits": tuple(found["bits"])})


def levels_of(step: Step) -> int:
    """Levels that a step uses up: one for a matrix, and for a polynomial as TenSEAL computes it."""
    if isinstance(step, Affine):
        return 1
    return max((_levels_of_term(k, a) for k, a in enumerate(step.coefficients) if k and a), default=0)


def _levels_of_term(power: int, coefficient: float) -> int:
    """Of a xᵏ, made of squares of squares: a power of two first, and what is left of k times the coefficient."""
    squares = power.bit_length() - 1
    left = power - (1 << squares)
    if left:
        return max(squares, _levels_of_term(left, coefficient)) + 1
    return squares + (coefficient != 1)


def width_of(steps: Sequence[Step], outputs: int) -> int:
    """Slots that must hold right numbers at the start: each matrix spoils as many as it has rows, less one."""
    return outputs + sum(len(step.matrix) - 1 for step in steps if isinstance(step, Affine))


def plan(
    steps: Sequence[Step], input_shape: tuple[int, ...], outputs: int, scale_bits: int | None
) -> EncryptionParameters:
    """The smallest parameters that a program runs with; without ``scale_bits`` as exact as there is room for.

    Raises:
        RangeError: no secure ones are large enough.
    """
    levels, slots = sum(map(levels_of, steps)), width_of(steps, outputs)
    scales = _SCALES if scale_bits is None else (scale_bits,)
    for degree, most in MOST_BITS.items():
        for scale in scales:
            bits = (_end(scale), *[scale] * levels, _end(scale))
            if sum(bits) <= most and slots <= degree // 2:
                return EncryptionParameters(input_shape, outputs, degree, bits, scale)
    (largest, most), least = max(MOST_BITS.items()), min(scales)
    raise RangeError(
        f"at most {(most - 2 * _end(least)) // least} levels and {largest // 2} slots, at scale_bits={least}",
        got=f"a model of {levels} levels and {slots} slots: {told(steps)}",
        fix="take fewer layers, or polynomials of a lower degree, or smaller inputs, or fewer scale_bits",
        where=_WHERE,
    )


def _end(scale_bits: int) -> int:
    """Bits of the first prime, and of the one for keys."""
    return min(_LONGEST, scale_bits + _ROOM)


def told(steps: Sequence[Step]) -> str:
    """Every step with the level that it ends on: ``model.layers[0] 1, model.layers[0].act 2``."""
    found, level = [], 0
    for step in steps:
        level += levels_of(step)
        found.append(f"{step.name} {level}")
    return ", ".join(found)


def missing(steps: Sequence[Step], levels: int) -> str:
    """The first step that has no level left, in words."""
    level = 0
    for step in steps:
        level += levels_of(step)
        if level > levels:
            kind = f"a polynomial of degree {len(step.coefficients) - 1}" if isinstance(step, Power) else "a matrix"
            return f"{step.name}, {kind}, needs level {level}"
    return ""
