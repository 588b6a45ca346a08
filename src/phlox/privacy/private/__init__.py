"""Private training: what a model tells of any one example is bounded, and the bound is told.

_optimizer    px.privacy.PrivateOptimizer: an optimiser that sees clipped, noisy gradients alone; read it first
_step         its step for px.fit: each example's gradient by itself
_clipped      gradients by example, clipped and added up, in micro-batches
_noise        Gaussian noise
_sampling     px.privacy.PoissonLoader: each example in each batch by a coin of its own
_accounting   ε and δ, and the noise for them
_attack       who was among the examples? guessed from losses
"""
