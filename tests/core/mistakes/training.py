"""Losses, optimisers and weight files: shapes that do not match, gradients of another model, missing arrays."""

from core.mistakes.table import Mistake

TRAINING = [
    Mistake(
        "loss-shapes",
        "A loss never broadcasts: (3,) against (3, 1) would compare everything with everything.",
        given="prediction, target = jnp.ones((3, 1)), jnp.ones(3)",
        do="px.losses.mse(prediction, target)",
        text="""
        ShapeError: mse expects prediction and target of one shape, got float32[3, 1] and float32[3]
          fix: reshape one of them; both have 3 elements: target.reshape((3, 1)).
        """,
    ),
    Mistake(
        "loss-swapped",
        "The prediction comes first.",
        given="logits, labels = jnp.ones((4, 3)), jnp.array([0, 1, 2, 0])",
        do="px.losses.cross_entropy(labels, logits)",
        text="""
        DtypeError: cross_entropy expects a floating logits, got int32[4]
          fix: pass the prediction first and the target second, or convert with .astype(float).
        """,
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
        text="""
        StructureError: Optimizer.update expects gradients of this Dense, got a Chain with an array at
                layers.1.weight
          fix: pass what px.grad returned for this very model
        """,
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
        text="""
        StructureError: Optimizer.update expects a gradient like float32[2, 1] at weight, got float32[2, 4]
          fix: pass what px.grad returned for this very model
        """,
    ),
    Mistake(
        "update-unknown-path",
        "A dict of gradients has the model's own paths.",
        given="""
        model = px.Dense(2, 1)
        opt = px.Optimizer(px.optim.Adam(), model)
        """,
        do='opt.update(model, {"kernel": jnp.ones((2, 1))})',
        text="""
        StructureError: Optimizer.update expects a gradient Module, or a dict from path to array, got the unknown
                path 'kernel'
          fix: pass what px.grad returned, or use the paths of the model: weight, bias …
        """,
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
        text="""
        StructureError: Optimizer.update expects the arrays it was made for, got new or changed ones at layers.1
                (another Module)
          fix: call opt.sync(model), which adopts them and keeps the rest
        """,
    ),
    Mistake(
        "update-untied",
        """Plain JAX rebuilds a shared part once for each path to it, with a gradient for each copy, where px.grad has
        their sum.""",
        given="""
        layer = px.Dense(2, 2)
        model = px.Chain(layer, layer)
        opt = px.Optimizer(px.optim.Descent(), model)
        x = jnp.ones((3, 2))
        """,
        do="opt.update(model, jax.grad(lambda model: model(x).sum())(model))",
        ways="line by line",
        text="""
        StructureError: Optimizer.update expects one gradient for the shared layers.1.weight, got copies of it
                that differ (layers.1.weight, layers.0.weight)
          fix: use px.grad, and px.map in place of jax.tree.map, which keep what is shared shared
        """,
    ),
    Mistake(
        "adjust-optax",
        "A rule of optax has its numbers inside its functions.",
        given="""
        model = px.Dense(2, 1)
        opt = px.Optimizer(optax.adam(1e-3), model)
        """,
        do="opt.adjust(learning_rate=1e-4)",
        text="""
        StructureError: Optimizer.adjust expects a rule that holds learning_rate as state, got a transformation of
                optax, whose numbers are constants of the program
          fix: make it with optax.inject_hyperparams(…)(learning_rate=…), or use a rule of px.optim
        """,
    ),
    Mistake(
        "adjust-schedule",
        "A schedule computes the rate at every step; a number would be overwritten.",
        given="""
        model = px.Dense(2, 1)
        opt = px.Optimizer(px.optim.Adam(lambda count: 1e-3 / (count + 1)), model)
        """,
        do="opt.adjust(learning_rate=1e-4)",
        text="""
        StructureError: Optimizer.adjust expects a rule that holds learning_rate as state, got a learning rate
                that a schedule computes
          fix: give the rule a number for a learning rate, or change the schedule
        """,
    ),
    Mistake(
        "adjust-constant",
        "Learning rate, decay, momentum and thresholds are state; the other numbers of a rule are part of the program.",
        given="""
        model = px.Dense(2, 1)
        opt = px.Optimizer(px.optim.Adam(), model)
        """,
        do="opt.adjust(b1=0.5)",
        text="""
        StructureError: Optimizer.adjust expects a rule that holds b1 as state, got Adam, whose numbers are
                constants of the program
          fix: make a new Optimizer with the number you want
        """,
    ),
    Mistake(
        "adjust-negative",
        "A negative learning rate climbs.",
        given="""
        model = px.Dense(2, 1)
        opt = px.Optimizer(px.optim.Adam(), model)
        """,
        do="opt.adjust(learning_rate=-1.0)",
        text="""
        RangeError: Optimizer.adjust expects learning_rate of at least 0, got -1.0
          fix: choose learning_rate ≥ 0
        """,
    ),
    Mistake(
        "load-missing",
        "Every array of the model is in the file, and the other way round, unless strict=False.",
        given="""
        model = px.Chain(px.Dense(2, 3), px.Dense(3, 1))
        arrays = px.state_dict(model)
        arrays["layers.1.kernel"] = arrays.pop("layers.1.weight")
        """,
        do="px.load_state_dict(model, arrays)",
        text="""
        StructureError: px.load_state_dict expects the 4 arrays of this Chain, got others:
            missing: layers.1.weight
            unexpected: layers.1.kernel
          fix: build the model as the one that the arrays are from, or take what fits with strict=False
        """,
    ),
    Mistake(
        "load-mismatched",
        "Shapes and dtypes are those of the model: nothing is cut, converted or broadcast.",
        given="""
        model = px.Dense(2, 3)
        arrays = {"weight": jnp.ones((3, 2)), "bias": jnp.ones(3, jnp.float16)}
        """,
        do="px.load_state_dict(model, arrays)",
        text="""
        StructureError: px.load_state_dict expects the 2 arrays of this Dense, got others:
            mismatched: weight expects float32[2, 3], got float32[3, 2]
            mismatched: bias expects float32[3], got float16[3]
          fix: build the model as the one that the arrays are from, or take what fits with strict=False
        """,
    ),
    Mistake(
        "merge-missing",
        "The pure view is lossless: parameters and state together hold every array once.",
        given="model = px.BatchNorm(3)",
        do="""
        params, state = px.split(model)
        px.merge(model, params, {})
        """,
        text="""
        StructureError: px.merge expects the 4 arrays of this model, each once, in params or state, got missing
                mean, var
          fix: pass what px.split(model) returned for a model of this structure
        """,
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
        text="""
        StructureError: px.apply expects a call that writes State only, got a new value for the parameter weight,
                float32[2]
          fix: annotate what the call moves in its class: name: px.State
        """,
    ),
    Mistake(
        "freeze-nothing",
        "A pattern that matches nothing is a typing mistake, and everything would go on training.",
        given="model = px.Chain(encoder=px.Dense(2, 3), head=px.Dense(3, 1))",
        do='px.freeze(model, "encoder.*")',
        ways="as written",
        text="""
        StructureError: px.freeze expects a choice that matches an array of this Chain, got 'encoder.*'
          fix: choose among its paths: layers.encoder.weight, layers.encoder.bias, layers.head.weight …
        """,
    ),
    Mistake(
        "freeze-other-part",
        "A part of another model, or a copy, is no part of this one.",
        given="model = px.Chain(px.Dense(2, 3), px.Dense(3, 1))",
        do="px.freeze(model, px.copy(model[0]))",
        ways="as written",
        text="""
        StructureError: px.freeze expects a part of this Chain, got a Dense(2 → 3) that is not in it
          fix: pass a part of this very model, as it is found by attribute or index
        """,
    ),
    Mistake(
        "map-forms",
        "Trees that are mapped together have one form.",
        given="a, b = px.Chain(px.Dense(2, 3)), px.Chain(px.Dense(2, 3), px.Dense(3, 1))",
        do="px.map(jnp.add, a, b)",
        text="""
        StructureError: px.map expects a tree with the 2 Modules of the first, got one with 3
          fix: map over models that are built alike
        """,
    ),
]
