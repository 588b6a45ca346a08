"""Transforms asked for what they cannot do: gradients, maps, loops, branches, rules of one's own."""

from core.mistakes.table import Mistake

MODEL = "model, x, y = px.Dense(2, 1), jnp.ones((3, 2)), jnp.ones((3, 1))"

TRANSFORMS = [
    Mistake(
        "grad-vector",
        "A gradient is of one number; a loss for each example must be reduced first.",
        given=MODEL,
        do="px.grad(lambda model: (model(x) - y) ** 2)(model)",
        text="",
    ),
    Mistake(
        "grad-integer",
        "A count of hits has no gradient; a loss has.",
        given=MODEL,
        do="px.grad(lambda model: (model(x) > 0).sum())(model)",
        text="",
    ),
    Mistake(
        "grad-aux",
        "A function that returns more than its loss says so with has_aux.",
        given=MODEL,
        do="px.value_and_grad(lambda model: (model(x).sum(), model(x)))(model)",
        text="",
    ),
    Mistake(
        "grad-nothing",
        "A function without a return statement returns None.",
        given=MODEL,
        do="""
        def loss_fn(model):
            loss = px.losses.mse(model(x), y)

        px.grad(loss_fn)(model)
        """,
        text="",
    ),
    Mistake(
        "grad-no-aux",
        "has_aux promises a second value.",
        given=MODEL,
        do="px.grad(lambda model: model(x).sum(), has_aux=True)(model)",
        text="",
    ),
    Mistake(
        "jvp-tangents",
        "One direction for each argument.",
        do="px.jvp(jnp.multiply, (2.0, 3.0), (1.0,))",
        text="",
    ),
    Mistake(
        "vjp-cotangent",
        "A cotangent is like the value that it belongs to.",
        do="""
        y, pullback = px.vjp(lambda x: x.reshape(3, 1), jnp.ones(3))
        pullback(jnp.ones(3))
        """,
        text="",
    ),
    Mistake(
        "vmap-nothing-mapped",
        "With None everywhere there is nothing to map over.",
        given="model, x = px.Dense(2, 3), jnp.ones(2)",
        do="px.vmap(lambda model, x: model(x), in_axes=None)(model, x)",
        text="",
    ),
    Mistake(
        "vmap-model-mapped",
        "in_axes=0 maps over the model's arrays too. One model for all examples has None.",
        given="model, xs = px.Dense(2, 3), jnp.ones((5, 2))",
        do="px.vmap(lambda model, x: model(x))(model, xs)",
        text="",
    ),
    Mistake(
        "vmap-axes-count",
        "One entry of in_axes for each argument.",
        given="model, xs = px.Dense(2, 3), jnp.ones((5, 2))",
        do="px.vmap(lambda model, x: model(x), in_axes=(None, 0, 0))(model, xs)",
        text="",
    ),
    Mistake(
        "vmap-no-such-axis",
        "The array has fewer axes than in_axes says.",
        given="xs = jnp.ones(5)",
        do="px.vmap(jnp.sin, in_axes=1)(xs)",
        text="",
    ),
    Mistake(
        "vmap-sizes",
        "All mapped arguments have as many examples.",
        given="a, b = jnp.ones((5, 2)), jnp.ones((4, 2))",
        do="px.vmap(lambda a, b: a + b)(a, b)",
        text="",
    ),
    Mistake(
        "scan-carry-dtype",
        "The carry goes round, so what comes out must be what went in: here an int, then a float.",
        given="xs = jnp.arange(3.0)",
        do="px.scan(lambda c, x: (c + x, c), 0, xs)",
        ways="compiled",
        text="",
    ),
    Mistake(
        "scan-carry-shape",
        "As above, for a carry that grows.",
        given="xs = jnp.arange(3.0)",
        do="px.scan(lambda c, x: (jnp.append(c, x), x), jnp.zeros(1), xs)",
        ways="compiled",
        text="",
    ),
    Mistake(
        "scan-carry-form",
        "As above, for a carry that leaves something out.",
        given="xs = jnp.arange(3.0)",
        do='px.scan(lambda c, x: (c["sum"] + x, x), {"sum": jnp.zeros(())}, xs)',
        ways="compiled",
        text="",
    ),
    Mistake(
        "scan-lengths",
        "What is scanned over has one length.",
        given="a, b = jnp.ones((5, 2)), jnp.ones((4, 2))",
        do="px.scan(lambda c, x: (c, x), None, (a, b))",
        text="",
    ),
    Mistake(
        "scan-endless",
        "Neither xs nor length tells how many rounds there are.",
        do="px.scan(lambda c, _: (c + 1, None), jnp.zeros(()))",
        text="",
    ),
    Mistake(
        "while-test-vector",
        "A loop goes on or ends: the test is one boolean.",
        given="x = jnp.arange(3.0)",
        do="px.while_loop(lambda c: c < 10, lambda c: c + 1, x)",
        ways="compiled",
        text="",
    ),
    Mistake(
        "cond-vector",
        "One condition for the whole; a choice for each element is jnp.where.",
        given="x = jnp.arange(3.0)",
        do="px.cond(x > 1, jnp.sin, jnp.cos, x)",
        text="",
    ),
    Mistake(
        "cond-shapes",
        "A compiled program has results of one shape, whichever branch runs.",
        given="x = jnp.arange(3.0)",
        do="px.cond(x.sum() > 1, lambda x: x, lambda x: x[:2], x)",
        ways="compiled",
        text="",
    ),
    Mistake(
        "cond-forms",
        "As above, where one branch returns more.",
        given="x = jnp.arange(3.0)",
        do="px.cond(x.sum() > 1, lambda x: (x, x), lambda x: x, x)",
        ways="compiled",
        text="",
    ),
    Mistake(
        "custom-vjp-no-rule",
        "A gradient of one's own has two halves, set by defvjp.",
        given="""
        @px.custom_vjp
        def clipped(x):
            return x
        """,
        do="px.grad(lambda x: clipped(x))(2.0)",
        text="",
    ),
    Mistake(
        "custom-vjp-count",
        "The backward half returns one cotangent for each argument, as a tuple.",
        given="""
        @px.custom_vjp
        def scaled(x, factor):
            return x * factor

        scaled.defvjp(lambda x, factor: (x * factor, factor), lambda factor, g: g * factor)
        """,
        do="px.grad(lambda x: scaled(x, 3.0))(2.0)",
        text="",
    ),
    Mistake(
        "custom-vjp-shape",
        "A cotangent is like the argument that it belongs to.",
        given="""
        @px.custom_vjp
        def total(x):
            return x.sum()

        total.defvjp(lambda x: (x.sum(), None), lambda _, g: (g,))
        """,
        do="px.grad(lambda x: total(x))(jnp.ones(3))",
        text="",
    ),
    Mistake(
        "gradient-hook-shape",
        "A hook changes the numbers of a gradient, not its shape.",
        do="px.grad(lambda x: px.gradient_hook(x, jnp.sum).sum())(jnp.ones(3))",
        text="",
    ),
    Mistake(
        "destructure-imaginary",
        "An imaginary part has no place in a real array.",
        given="model = {'gain': jnp.ones(2), 'phase': jnp.ones(1, complex)}",
        do="""
        vector, restore = px.destructure(model)
        restore(vector * 1j)
        """,
        ways="line by line",
        text="",
    ),
    Mistake(
        "destructure-fraction",
        "A fraction has no place in an integer.",
        given="tree = (jnp.ones(2), jnp.array([1, 2]))",
        do="""
        vector, restore = px.destructure(tree)
        restore(vector / 2)
        """,
        ways="line by line",
        text="",
    ),
    Mistake(
        "destructure-length",
        "The vector has as many numbers as the tree.",
        given="model = px.Dense(2, 3)",
        do="""
        vector, restore = px.destructure(model)
        restore(vector[:-1])
        """,
        text="",
    ),
    Mistake(
        "nonfinite-forward",
        "The first layer that gives a NaN or an infinity, and its parameters that are not finite.",
        given="""
        model = px.Chain(px.Dense(2, 2), px.LayerNorm(2), px.Dense(2, 1))
        model[1].scale = jnp.array([1.0, jnp.inf])
        x = jnp.arange(4.0).reshape(2, 2)
        """,
        do="""
        with px.watch_nonfinite():
            model(x)
        """,
        ways="as written",
        text="",
    ),
]
