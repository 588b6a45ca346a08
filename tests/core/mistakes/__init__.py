"""The table of mistakes: real ones, with the whole text that each gives, line by line and compiled.

``test_mistakes.py`` makes every one of them; ``docs/errors.md`` is generated from it.
"""

from core.mistakes.arguments import ARGUMENTS
from core.mistakes.capture import CAPTURE
from core.mistakes.inputs import INPUTS
from core.mistakes.state import STATE
from core.mistakes.table import Failure, Mistake, arrays, make, unchanged
from core.mistakes.training import TRAINING
from core.mistakes.transforms import TRANSFORMS

SECTIONS: dict[str, list[Mistake]] = {
    "Inputs": INPUTS,
    "Arguments": ARGUMENTS,
    "State and randomness": STATE,
    "Models captured, changed or lost": CAPTURE,
    "Transforms": TRANSFORMS,
    "Training and files": TRAINING,
}
MISTAKES = [mistake for section in SECTIONS.values() for mistake in section]

__all__ = ["MISTAKES", "SECTIONS", "Failure", "Mistake", "arrays", "make", "unchanged"]
