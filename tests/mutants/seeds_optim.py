"""Seeded bugs in optimisers: name, file, original, replaced, the tests that must catch it."""

_STEPS = "tests/optim/test_rules.py::test_four_steps_are_torchs"
_OPT = "tests/optim/test_optimizer.py::"

MUTANTS = [
    (
        "Adam's eps inside the root",
        "optim/_rules.py",
        "optax.scale_by_adam(self.b1, self.b2, self.eps)",
        "optax.scale_by_adam(self.b1, self.b2, 0.0, self.eps)",
        (_STEPS + "[Adam with a large eps-float32]",),
    ),
    (
        "Adam's decays exchanged",
        "optim/_rules.py",
        "optax.scale_by_adam(self.b1, self.b2, self.eps)",
        "optax.scale_by_adam(self.b2, self.b1, self.eps)",
        (_STEPS + "[Adam-float32]",),
    ),
    (
        "AdamW's decay is coupled to the moments",
        "optim/_rules.py",
        "return (*super()._direction(), optax.add_decayed_weights(self.weight_decay))",
        "return (optax.add_decayed_weights(self.weight_decay), *super()._direction())",
        (_STEPS + "[AdamW-float32]",),
    ),
    (
        "momentum never looks ahead",
        "optim/_rules.py",
        "optax.trace(self.momentum, self.nesterov)",
        "optax.trace(self.momentum)",
        (_STEPS + "[Nesterov-float32]",),
    ),
    (
        "steps go uphill",
        "optim/_rate.py",
        "-jnp.asarray(rate).astype",
        "jnp.asarray(rate).astype",
        (_STEPS + "[Descent-float32]",),
    ),
    (
        "a partial step forgets the state of what moved",
        "optim/_optimizer.py",
        "{**b, **a} if is_leaf(b) else a",
        "{**a, **b} if is_leaf(b) else a",
        (_OPT + "test_what_has_no_gradient_stays_with_its_state",),
    ),
    (
        "sync starts everything afresh",
        "optim/_optimizer.py",
        "w[p] if p in same else n[p] for p in n",
        "n[p] for p in n",
        (_OPT + "test_sync_drops_what_is_gone_and_keeps_the_rate",),
    ),
]
