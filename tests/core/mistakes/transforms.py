"""Transforms asked for what they cannot do: gradients, maps, loops, branches, rules of one's own."""

from core.mistakes.table import Mistake

MODEL = "model, x, y = px.Dense(2, 1), jnp.ones((3, 2)), jnp.ones((3, 1))"

TRANSFORMS = [
    Mistake(
        "grad-vector",
        "A gradient is of one number; a loss for each example must be reduced first.",
        given=MODEL,
        do="px.grad(lambda model: (model(x) - y) ** 2)(model)",
        text="""
        ShapeError: px.grad expects a function that returns a scalar, real and of shape (), got float32[3, 1]
          fix: reduce it, for example with .mean() or .sum(); for a vector use px.jacobian or px.vjp
        """,
    ),
    Mistake(
        "grad-integer",
        "A count of hits has no gradient; a loss has.",
        given=MODEL,
        do="px.grad(lambda model: (model(x) > 0).sum())(model)",
        text="""
        ShapeError: px.grad expects a function that returns a scalar, real and of shape (), got int32[]
          fix: differentiate a loss of floats; counts and comparisons have no gradient
        """,
    ),
    Mistake(
        "grad-aux",
        "A function that returns more than its loss says so with has_aux.",
        given=MODEL,
        do="px.value_and_grad(lambda model: (model(x).sum(), model(x)))(model)",
        text="""
        ShapeError: px.grad expects a function that returns a scalar, got (*, *)
          fix: return the loss alone, or pass has_aux=True and return (loss, aux)
        """,
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
        text="""
        ShapeError: px.grad expects a function that returns a scalar, got None
          fix: end the function with return loss
        """,
    ),
    Mistake(
        "grad-no-aux",
        "has_aux promises a second value.",
        given=MODEL,
        do="px.grad(lambda model: model(x).sum(), has_aux=True)(model)",
        text="""
        ShapeError: px.grad expects a function that returns (scalar, aux), got *
          fix: return (loss, aux), or leave has_aux=True out
        """,
    ),
    Mistake(
        "jvp-tangents",
        "One direction for each argument.",
        do="px.jvp(jnp.multiply, (2.0, 3.0), (1.0,))",
        text="""
        ShapeError: px.jvp expects 2 tangents, one for each primal, got 1
          fix: give one for each; None for what does not change
        """,
    ),
    Mistake(
        "vjp-cotangent",
        "A cotangent is like the value that it belongs to.",
        do="""
        y, pullback = px.vjp(lambda x: x.reshape(3, 1), jnp.ones(3))
        pullback(jnp.ones(3))
        """,
        text="""
        ShapeError: px.vjp expects a cotangent like float32[3, 1], got float32[3]
          fix: give it the shape of the value
        """,
    ),
    Mistake(
        "vmap-nothing-mapped",
        "With None everywhere there is nothing to map over.",
        given="model, x = px.Dense(2, 3), jnp.ones(2)",
        do="px.vmap(lambda model, x: model(x), in_axes=None)(model, x)",
        text="""
        ShapeError: px.vmap expects mapped axes of one size, got no mapped argument
          fix: give in_axes None for what is the same for all examples, such as a model: in_axes=(None, 0)
        """,
    ),
    Mistake(
        "vmap-model-mapped",
        "in_axes=0 maps over the model's arrays too. One model for all examples has None.",
        given="model, xs = px.Dense(2, 3), jnp.ones((5, 2))",
        do="px.vmap(lambda model, x: model(x))(model, xs)",
        text="""
        ShapeError: px.vmap expects mapped axes of one size, got 2 at model.weight, 3 at model.bias, 5 at array 0
                of the arguments
          fix: give in_axes None for what is the same for all examples, such as a model: in_axes=(None, 0)
        """,
    ),
    Mistake(
        "vmap-axes-count",
        "One entry of in_axes for each argument.",
        given="model, xs = px.Dense(2, 3), jnp.ones((5, 2))",
        do="px.vmap(lambda model, x: model(x), in_axes=(None, 0, 0))(model, xs)",
        text="""
        ShapeError: px.vmap expects axes like what they are for: one for all, or one for each part, got (None, 0,
                0) for (*, *)
          fix: give one entry for each argument, or for each result; None is for what is the same for all examples
        """,
    ),
    Mistake(
        "vmap-no-such-axis",
        "The array has fewer axes than in_axes says.",
        given="xs = jnp.ones(5)",
        do="px.vmap(jnp.sin, in_axes=1)(xs)",
        text="""
        ShapeError: px.vmap expects array 0 of the arguments to have the axis 1 that it is mapped over, got
                float32[5]
          fix: choose an axis that it has; None in in_axes is for what is the same for all examples
        """,
    ),
    Mistake(
        "vmap-sizes",
        "All mapped arguments have as many examples.",
        given="a, b = jnp.ones((5, 2)), jnp.ones((4, 2))",
        do="px.vmap(lambda a, b: a + b)(a, b)",
        text="""
        ShapeError: px.vmap expects mapped axes of one size, got 5 at array 0 of the arguments, 4 at array 1 of
                the arguments
          fix: give in_axes None for what is the same for all examples, such as a model: in_axes=(None, 0)
        """,
    ),
    Mistake(
        "scan-carry-dtype",
        "The carry goes round, so what comes out must be what went in: here an int, then a float.",
        given="xs = jnp.arange(3.0)",
        do="px.scan(lambda c, x: (c + x, c), 0, xs)",
        text="""
        ShapeError: px.scan expects the carry to stay int32[], got float32[]
          fix: start with a carry of the shape and dtype that the body returns
        """,
    ),
    Mistake(
        "scan-carry-shape",
        "As above, for a carry that grows.",
        given="xs = jnp.arange(3.0)",
        do="px.scan(lambda c, x: (jnp.append(c, x), x), jnp.zeros(1), xs)",
        text="""
        ShapeError: px.scan expects the carry to stay float32[1], got float32[2]
          fix: start with a carry of the shape and dtype that the body returns
        """,
    ),
    Mistake(
        "scan-carry-form",
        "As above, for a carry that leaves something out.",
        given="xs = jnp.arange(3.0)",
        do='px.scan(lambda c, x: (c["sum"] + x, x), {"sum": jnp.zeros(())}, xs)',
        text="""
        StructureError: px.scan expects the body to return a carry of the form it came in, {'sum': *}, got *
          fix: return every part of the carry, in the same lists, tuples and dicts
        """,
    ),
    Mistake(
        "scan-pair",
        "The body of a scan returns two things: what goes round, and what is stacked.",
        given="xs = jnp.arange(3.0)",
        do="px.scan(lambda c, x: c + x, 0.0, xs)",
        text="""
        StructureError: px.scan expects a body that returns a pair, (carry, y), got float32[]
          fix: return carry, y; return carry, None where there is nothing to stack
        """,
    ),
    Mistake(
        "scan-carry-path",
        "Of a carry with several parts, the one that changed is named.",
        given="xs = jnp.arange(3.0)",
        do='px.scan(lambda c, x: ({"h": c["h"], "n": c["n"] + 0.5}, x), {"h": xs, "n": 0}, xs)',
        text="""
        ShapeError: px.scan expects carry['n'] to stay int32[], got float32[]
          fix: start with a carry of the shape and dtype that the body returns
        """,
    ),
    Mistake(
        "while-carry-dtype",
        "What goes round in a while loop stays of one dtype too.",
        given="x = jnp.arange(3)",
        do="px.while_loop(lambda c: c.sum() < 9, lambda c: c * 1.5, x)",
        text="""
        ShapeError: px.while_loop expects the carry to stay int32[3], got float32[3]
          fix: start with a carry of the shape and dtype that the body returns
        """,
    ),
    Mistake(
        "jit-hidden-array",
        "An object that JAX cannot see into would keep the traced array, and later calls would give that one again.",
        given="""
        @dataclasses.dataclass
        class Result:
            loss: jax.Array

        x = jnp.arange(3.0)
        """,
        do="px.jit(lambda x: Result(x.sum()))(x)",
        ways="as written",
        text="""
        StructureError: px.jit(<lambda>) expects results in containers that JAX can see into, got a Result that
                holds a traced array at .loss
          fix: return a tuple, dict or px.Module, or register the class with jax.tree_util.register_dataclass
        """,
    ),
    Mistake(
        "scan-lengths",
        "What is scanned over has one length.",
        given="a, b = jnp.ones((5, 2)), jnp.ones((4, 2))",
        do="px.scan(lambda c, x: (c, x), None, (a, b))",
        text="""
        ShapeError: px.scan expects xs of one length, got [4, 5] rounds
          fix: give all of xs as many rounds, or pass length=
        """,
    ),
    Mistake(
        "scan-endless",
        "Neither xs nor length tells how many rounds there are.",
        do="px.scan(lambda c, _: (c + 1, None), jnp.zeros(()))",
        text="""
        ShapeError: px.scan expects xs of one length, got neither xs nor length
          fix: give all of xs as many rounds, or pass length=
        """,
    ),
    Mistake(
        "while-test-vector",
        "A loop goes on or ends: the test is one boolean.",
        given="x = jnp.arange(3.0)",
        do="px.while_loop(lambda c: c < 10, lambda c: c + 1, x)",
        text="""
        ShapeError: px.while_loop expects a test that returns a scalar boolean, got bool[3]
          fix: reduce it with .all() or .any()
        """,
    ),
    Mistake(
        "cond-vector",
        "One condition for the whole; a choice for each element is jnp.where.",
        given="x = jnp.arange(3.0)",
        do="px.cond(x > 1, jnp.sin, jnp.cos, x)",
        text="""
        ShapeError: px.cond expects a scalar condition, got bool[3]
          fix: reduce it with .all() or .any(); to choose element by element use jnp.where
        """,
    ),
    Mistake(
        "cond-shapes",
        "A compiled program has results of one shape, whichever branch runs.",
        given="x = jnp.arange(3.0)",
        do="px.cond(x.sum() > 1, lambda x: x, lambda x: x[:2], x)",
        ways="compiled",
        text="""
        ShapeError: px.cond expects branches that return arrays of one shape and dtype, got float32[3] from the
                first and float32[2] from the second
          fix: make them alike, for example with .astype, by padding, or by jnp.where in place of px.cond
        """,
    ),
    Mistake(
        "cond-forms",
        "As above, where one branch returns more.",
        given="x = jnp.arange(3.0)",
        do="px.cond(x.sum() > 1, lambda x: (x, x), lambda x: x, x)",
        ways="compiled",
        text="""
        StructureError: px.cond expects branches that return results of one form, got (*, *) from the first and *
                from the second
          fix: return the same lists, tuples, dicts and Modules from both
        """,
    ),
    Mistake(
        "custom-vjp-no-rule",
        "A gradient of one's own has two halves, set by defvjp.",
        given="""
        @px.custom_vjp
        def clipped(x):
            return x
        """,
        do="px.grad(lambda x: clipped(x))(jnp.ones(()))",
        text="""
        StructureError: px.custom_vjp expects a gradient rule for clipped, got none
          fix: call clipped.defvjp(forward, backward) once, before clipped is called
        """,
    ),
    Mistake(
        "custom-vjp-pair",
        "The forward half returns what backward needs beside the value.",
        do="""
        f = px.custom_vjp(lambda x: x)
        f.defvjp(lambda x: x, lambda _, g: (g,))
        px.grad(f)(1.0)
        """,
        text="""
        StructureError: px.custom_vjp expects a forward that returns a pair, (y, residuals), got float32[]
          fix: return y, residuals; return y, None where backward needs nothing
        """,
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
        do="px.grad(lambda x: scaled(x, x))(jnp.ones(()))",
        text="""
        StructureError: px.custom_vjp expects a backward that returns a tuple of 2 cotangents, one for each
                argument, got float32[]
          fix: return a tuple, also for one argument: (g,); None is for what has no gradient
        """,
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
        text="""
        ShapeError: px.custom_vjp expects an array like float32[3], got float32[]
          fix: give it the shape of the argument
        """,
    ),
    Mistake(
        "gradient-hook-shape",
        "A hook changes the numbers of a gradient, not its shape.",
        do="px.grad(lambda x: px.gradient_hook(x, jnp.sum).sum())(jnp.ones(3))",
        text="""
        ShapeError: px.gradient_hook expects the hook to return a gradient like float32[3], got float32[]
          fix: return it in the shape it came in, or None to leave it as it is
        """,
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
        text="""
        DtypeError: px.destructure expects numbers that fit float32 without loss, got 1j
          fix: destructure a tree of the wider dtype, or round or take the real part yourself
        """,
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
        text="""
        DtypeError: px.destructure expects numbers that fit int32 without loss, got 0.5
          fix: destructure a tree of the wider dtype, or round or take the real part yourself
        """,
    ),
    Mistake(
        "destructure-length",
        "The vector has as many numbers as the tree.",
        given="model = px.Dense(2, 3)",
        do="""
        vector, restore = px.destructure(model)
        restore(vector[:-1])
        """,
        text="""
        ShapeError: px.destructure expects a vector of 9 numbers, got float32[8]
          fix: give restore a vector as long as the one that it came with
        """,
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
        text="""
        NonFiniteError: model.layers[1] LayerNorm(2) expects finite values, got 2 of 4 NaN or infinite in its
                output (forward), float32[2, 2]; its scale is not finite
          fix: look at what goes into it with px.capture; usual causes are log or division at 0, exp of a large
                number, and a learning rate that is too high
        """,
    ),
]
