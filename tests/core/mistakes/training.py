"""Losses, optimisers and weight files: shapes that do not match, gradients of another model, arrays that are not there."""

from core.mistakes.table import Mistake

TRAINING = [
    Mistake(
        "loss-shapes",
        "A loss never broadcasts: (3,) against (3, 1) would compare everything with everything.",
        given="prediction, target = jnp.ones((3, 1)), jnp.ones(3)",
        do="px.losses.mse(prediction, target)",
        text="",
    ),
    Mistake(
        "loss-swapped",
        "The prediction comes first.",
        given="logits, labels = jnp.ones((4, 3)), jnp.array([0, 1, 2, 0])",
        do="px.losses.cross_entropy(labels, logits)",
        text="",
    ),
    Mistake(
        "update-other-model",
        "Gradients belong to the model that they were computed for.",
        given="""
        model, other = px.Dense(2, 1), px.Chain(px.Dense(2, 1), px.Dense(1, 1))
        opt = px.Optimizer(px.optim.Adam(), model)
        x = jnp.ones((3, 2))
        """,
        do="""
        grads = px.grad(lambda other: other(x).sum())(other)
        opt.update(model, grads)
        """,
        text="",
    ),
    Mistake(
        "update-other-shape",
        "As above, where the other model has the same layers of another size.",
        given="""
        model, other = px.Dense(2, 1), px.Dense(2, 4)
        opt = px.Optimizer(px.optim.Adam(), model)
        x = jnp.ones((3, 2))
        """,
        do="""
        grads = px.grad(lambda other: other(x).sum())(other)
        opt.update(model, grads)
        """,
        text="",
    ),
    Mistake(
        "update-unknown-path",
        "A dict of gradients has the model's own paths.",
        given="""
        model = px.Dense(2, 1)
        opt = px.Optimizer(px.optim.Adam(), model)
        """,
        do='opt.update(model, {"kernel": jnp.ones((2, 1))})',
        text="",
    ),
    Mistake(
        "update-stale",
        "The optimiser holds moments for the arrays that it was made for; a new layer has others.",
        given="""
        model = px.Chain(px.Dense(2, 4), px.Dense(4, 1))
        opt = px.Optimizer(px.optim.Adam(), model)
        model[1] = px.Dense(4, 3)
        x = jnp.ones((3, 2))
        """,
        do="opt.update(model, px.grad(lambda model: model(x).sum())(model))",
        text="",
    ),
    Mistake(
        "update-untied",
        "Plain JAX rebuilds a shared part once for each path to it. Where the copies of its gradient differ, which is right?",
        given="""
        layer = px.Dense(2, 2)
        model = px.Chain(layer, layer)
        opt = px.Optimizer(px.optim.Descent(), model)
        x = jnp.ones((3, 2))
        """,
        do="opt.update(model, jax.grad(lambda model: model(x).sum())(model))",
        ways="line by line",
        text="",
    ),
    Mistake(
        "adjust-optax",
        "A rule of optax has its numbers inside its functions.",
        given="""
        model = px.Dense(2, 1)
        opt = px.Optimizer(optax.adam(1e-3), model)
        """,
        do="opt.adjust(learning_rate=1e-4)",
        text="",
    ),
    Mistake(
        "adjust-schedule",
        "A schedule computes the rate at every step; a number would be overwritten.",
        given="""
        model = px.Dense(2, 1)
        opt = px.Optimizer(px.optim.Adam(lambda count: 1e-3 / (count + 1)), model)
        """,
        do="opt.adjust(learning_rate=1e-4)",
        text="",
    ),
    Mistake(
        "adjust-constant",
        "Only the learning rate is state; the other numbers of a rule are part of the program.",
        given="""
        model = px.Dense(2, 1)
        opt = px.Optimizer(px.optim.Adam(), model)
        """,
        do="opt.adjust(b1=0.5)",
        text="",
    ),
    Mistake(
        "adjust-negative",
        "A negative learning rate climbs.",
        given="""
        model = px.Dense(2, 1)
        opt = px.Optimizer(px.optim.Adam(), model)
        """,
        do="opt.adjust(learning_rate=-1.0)",
        text="",
    ),
    Mistake(
        "load-missing",
        "Every array of the model is in the file, and the other way round, unless strict=False.",
        given="""
        model = px.Chain(px.Dense(2, 3), px.Dense(3, 1))
        arrays = {"layers.0.weight": jnp.ones((2, 3)), "layers.0.bias": jnp.ones(3), "layers.1.kernel": jnp.ones((3, 1))}
        """,
        do="px.load_state_dict(model, arrays)",
        text="",
    ),
    Mistake(
        "load-mismatched",
        "Shapes and dtypes are those of the model: nothing is cut, converted or broadcast.",
        given="""
        model = px.Dense(2, 3)
        arrays = {"weight": jnp.ones((3, 2)), "bias": jnp.ones(3, jnp.float16)}
        """,
        do="px.load_state_dict(model, arrays)",
        text="",
    ),
    Mistake(
        "merge-missing",
        "The pure view is lossless: parameters and state together hold every array once.",
        given="model = px.BatchNorm(3)",
        do="""
        params, state = px.split(model)
        px.merge(model, params, {})
        """,
        text="",
    ),
    Mistake(
        "apply-moves-parameter",
        "The pure view returns the new State, and State only.",
        given="""
        class Decay(px.Module):
            def __init__(self):
                self.weight = jnp.ones(2)

            def __call__(self, x):
                self.weight = self.weight * 0.9
                return x * self.weight

        model, x = Decay(), jnp.ones(2)
        """,
        do="px.apply(model, *px.split(model), x)",
        text="",
    ),
    Mistake(
        "freeze-nothing",
        "A pattern that matches nothing is a typing mistake, and everything would go on training.",
        given="model = px.Chain(encoder=px.Dense(2, 3), head=px.Dense(3, 1))",
        do='px.freeze(model, "encoder.*")',
        ways="as written",
        text="",
    ),
    Mistake(
        "freeze-other-part",
        "A part of another model, or a copy, is no part of this one.",
        given="model = px.Chain(px.Dense(2, 3), px.Dense(3, 1))",
        do="px.freeze(model, px.copy(model[0]))",
        ways="as written",
        text="",
    ),
    Mistake(
        "map-forms",
        "Trees that are mapped together have one form.",
        given="a, b = px.Chain(px.Dense(2, 3)), px.Chain(px.Dense(2, 3), px.Dense(3, 1))",
        do="px.map(jnp.add, a, b)",
        text="",
    ),
]
