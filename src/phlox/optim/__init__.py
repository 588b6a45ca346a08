"""Optimisers: thin named rules over optax, and the object that applies them in place."""

from phlox.optim._optimizer import Optimizer
from phlox.optim._rules import Adam, AdamW, Descent, Momentum, Rule

__all__ = ["Adam", "AdamW", "Descent", "Momentum", "Optimizer", "Rule"]
