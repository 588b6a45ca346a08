"""Models read where their weights would be frozen or their gradient lost; structure that changes inside a trace."""

from core.mistakes.table import Mistake

CAPTURE = [
    Mistake(
        "capture-jit",
        "The weights would be compiled into the program, which would never see them change.",
        given="""
        model, x = px.Dense(2, 3), jnp.ones((1, 2))

        @px.jit
        def predict(x):
            return model(x)
        """,
        do="predict(x)",
        ways="as written",
        text="",
    ),
    Mistake(
        "capture-jit-attribute",
        "As above, where only an array of the model is read.",
        given="""
        model, x = px.Chain(px.Dense(2, 3), px.Dense(3, 1)), jnp.ones((1, 2))

        @px.jit
        def penalty(x):
            return (model.layers[1].weight ** 2).sum()
        """,
        do="penalty(x)",
        ways="as written",
        text="",
    ),
    Mistake(
        "original-called",
        "The gradient is taken on the function's own copy. The original holds plain numbers: no gradient reaches it.",
        given="model, x = px.Dense(2, 1), jnp.ones((3, 2))",
        do="px.grad(lambda m: model(x).sum())(model)",
        text="",
    ),
    Mistake(
        "original-attribute",
        "As above, where only an array of the original is read; the penalty would have no gradient.",
        given="model, x = px.Dense(2, 1), jnp.ones((3, 2))",
        do="px.grad(lambda m: m(x).sum() + (model.weight ** 2).sum())(model)",
        text="",
    ),
    Mistake(
        "original-shared",
        "Another Module holds a part of the one that is differentiated; through it the gradient would be lost as well.",
        given="""
        embedding = px.Embedding(5, 2)
        reader, writer = px.Chain(embedding, px.Dense(2, 2)), px.Chain(embedding)
        tokens = jnp.array([[1, 2]])
        """,
        do="px.grad(lambda reader: (reader(tokens) * writer(tokens)).sum())(reader)",
        text="",
    ),
    Mistake(
        "structure-new-attribute",
        "Inside a trace the function works on a copy; what is new on it has no place in the original. Line by line it just works.",
        given="model, x = px.Dense(2, 1), jnp.ones((3, 2))",
        do="""
        model.last = model(x)
        """,
        ways="compiled",
        text="",
    ),
    Mistake(
        "structure-appended",
        "As above, for a layer that is appended.",
        given="model = px.Chain(px.Dense(2, 2), px.Dense(2, 2))",
        do="model.layers.append(px.Dense(2, 1, key=1))",
        ways="compiled",
        text="",
    ),
    Mistake(
        "structure-static",
        "What is no array is part of the program. A counter that a call moves must be an array.",
        given="""
        class Steps(px.Module):
            def __init__(self):
                self.steps = 0

            def __call__(self, x):
                self.steps += 1
                return x

        model, x = px.Chain(Steps()), jnp.ones(2)
        """,
        do="px.grad(lambda model: model(x).sum())(model)",
        text="",
    ),
    Mistake(
        "structure-replaced",
        "A layer replaced by another of the same form has other weights, which belong to nobody outside.",
        given="model = px.Chain(px.Dense(2, 2), px.Dense(2, 2))",
        do="model[1] = px.Dense(2, 2, key=1)",
        ways="compiled",
        text="",
    ),
    Mistake(
        "structure-swapped",
        "Two layers of the same form that change places look the same from outside, and are not.",
        given="model = px.Chain(px.Dense(2, 2), px.Dense(2, 2))",
        do="model.layers.reverse()",
        ways="compiled",
        text="",
    ),
    Mistake(
        "structure-list-argument",
        "Lists and dicts among the arguments are taken apart and put together anew; only Modules carry changes out.",
        given="history, x = [jnp.zeros(())], jnp.ones(2)",
        do="history.append(x.sum())",
        ways="compiled",
        text="",
    ),
    Mistake(
        "structure-set",
        "JAX cannot see into a set: the arrays in it would be compiled in as constants, and never train.",
        given="model = px.Chain(px.Dense(2, 2))",
        do="model.extra = {px.Dense(2, 2, key=1)}",
        text="",
    ),
    Mistake(
        "structure-deque",
        "Nor into a deque.",
        given="model = px.Chain(px.Dense(2, 2))",
        do="model.queue = deque([jnp.zeros(2)])",
        text="",
    ),
    Mistake(
        "structure-dataclass",
        "Nor into a dataclass that is not registered.",
        given="""
        @dataclasses.dataclass
        class Pair:
            mean: object
            scale: object

        model = px.Chain(px.Dense(2, 2))
        """,
        do="model.moments = Pair(jnp.zeros(2), jnp.ones(2))",
        text="",
    ),
    Mistake(
        "structure-object",
        "Nor into an object of a class of its own, here inside a list.",
        given="""
        class Memory:
            def __init__(self):
                self.values = jnp.zeros(2)

        model = px.Chain(px.Dense(2, 2))
        """,
        do="model.memories = [Memory()]",
        text="",
    ),
    Mistake(
        "structure-cycle",
        "A model is a tree; a part that holds the whole has no end.",
        given="""
        model, x = px.Chain(px.Dense(2, 2)), jnp.ones((1, 2))
        model[0].owner = model
        """,
        do="px.grad(lambda model: model(x).sum())(model)",
        text="",
    ),
    Mistake(
        "value-compiled",
        "Inside a compiled function there are no numbers yet, only their shapes.",
        do='px.jit(lambda x: print(f"{px.value(x.sum()):.3f}"))(jnp.ones(3))',
        ways="as written",
        text="",
    ),
    Mistake(
        "lost-alias",
        "JAX hands the very same buffer on when an array is put where it already is, so the other name dies with the donated one.",
        given="""
        model = px.Dense(2, 2)
        saved = jax.device_put(model.weight, jax.devices()[0])
        backup = px.Dense.of(saved, None)

        @px.jit
        def step(model):
            model.weight = model.weight + 1.0

        step(model)
        """,
        do="backup(jnp.ones((1, 2)))",
        keeps=False,
        text="",
    ),
    Mistake(
        "lost-step",
        "A step that fails while it runs has already given its buffers away.",
        given="""
        def fail(x):
            raise ValueError("the disk is full")

        @px.jit
        def step(model):
            model.weight = model.weight + jax.pure_callback(fail, jax.ShapeDtypeStruct((2, 2), "float32"), model.weight)

        model = px.Chain(px.Dense(2, 2))
        """,
        do="step(model[0])",
        ways="as written",
        keeps=False,
        text="",
    ),
    Mistake(
        "lost-model",
        "A model whose step failed while it ran has no buffers left.",
        given="""
        def fail(x):
            raise ValueError("the disk is full")

        @px.jit
        def step(model):
            model.weight = model.weight + jax.pure_callback(fail, jax.ShapeDtypeStruct((2, 2), "float32"), model.weight)

        model, x = px.Dense(2, 2), jnp.ones((1, 2))
        try:
            step(model)
        except px.LostBuffersError:
            pass
        """,
        do="model(x)",
        keeps=False,
        text="",
    ),
]
