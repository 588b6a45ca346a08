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
        text="""
        CaptureError: model Dense(2 → 3) expects to be an argument of the px.jit function that reads it, got a
                read from outside, which would freeze its weights into the compiled code
          fix: pass model as an argument, or capture px.constant(model) if it is meant
        """,
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
        text="""
        CaptureError: model.layers[1] Dense(3 → 1) expects to be an argument of the px.jit function that reads it,
                got a read from outside, which would freeze its weights into the compiled code
          fix: pass model as an argument, or capture px.constant(model) if it is meant
        """,
    ),
    Mistake(
        "original-called",
        "The gradient is taken on the function's own copy. The original holds plain numbers: no gradient reaches it.",
        given="model, x = px.Dense(2, 1), jnp.ones((3, 2))",
        do="px.grad(lambda m: model(x).sum())(model)",
        text="""
        CaptureError: model Dense(2 → 1) expects to be read through the argument of the px.grad function, got a
                read of the original, whose gradient would be silently zero
          fix: inside the function use its own argument in place of model; another Module that shares this part must
                be an argument too
        """,
    ),
    Mistake(
        "original-attribute",
        "As above, where only an array of the original is read; the penalty would have no gradient.",
        given="model, x = px.Dense(2, 1), jnp.ones((3, 2))",
        do="px.grad(lambda m: m(x).sum() + (model.weight ** 2).sum())(model)",
        text="""
        CaptureError: model Dense(2 → 1) expects to be read through the argument of the px.grad function, got a
                read of the original, whose gradient would be silently zero
          fix: inside the function use its own argument in place of model; another Module that shares this part must
                be an argument too
        """,
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
        text="""
        CaptureError: writer.layers[0] Embedding(5, 2) expects to be read through the argument of the px.grad
                function, got a read of the original, whose gradient would be silently zero
          fix: inside the function use its own argument in place of writer; another Module that shares this part
                must be an argument too
        """,
    ),
    Mistake(
        "structure-new-attribute",
        """Inside a trace the function works on a copy; what is new on it has no place in the original. Line by line
        it just works.""",
        given="model, x = px.Dense(2, 1), jnp.ones((3, 2))",
        do="""
        model.last = model(x)
        """,
        ways="compiled",
        text="""
        StructureError: px.jit expects a model whose structure stays as it was inside a trace, got model.last,
                which is new
          fix: make the change outside the transformed function, which the next call sees; a number that calls
                change must be an array
        """,
    ),
    Mistake(
        "structure-appended",
        "As above, for a layer that is appended.",
        given="model = px.Chain(px.Dense(2, 2), px.Dense(2, 2))",
        do="model.layers.append(px.Dense(2, 1, key=1))",
        ways="compiled",
        text="""
        StructureError: px.jit expects a model whose structure stays as it was inside a trace, got model.layers,
                changed from 2 parts to 3 parts
          fix: make the change outside the transformed function, which the next call sees; a number that calls
                change must be an array
        """,
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
        text="""
        StructureError: px.grad expects a model whose structure stays as it was inside a trace, got
                model.layers[0].steps, changed from 0 to 1
          fix: make the change outside the transformed function, which the next call sees; a number that calls
                change must be an array
        """,
    ),
    Mistake(
        "structure-replaced",
        "A layer replaced by another of the same form has other weights, which belong to nobody outside.",
        given="model = px.Chain(px.Dense(2, 2), px.Dense(2, 2))",
        do="model[1] = px.Dense(2, 2, key=1)",
        ways="compiled",
        text="""
        StructureError: px.jit expects a model whose structure stays as it was inside a trace, got
                model.layers[1], replaced by another Dense
          fix: make the change outside the transformed function, which the next call sees; a number that calls
                change must be an array
        """,
    ),
    Mistake(
        "structure-swapped",
        "Two layers of the same form that change places look the same from outside, and are not.",
        given="model = px.Chain(px.Dense(2, 2), px.Dense(2, 2))",
        do="model.layers.reverse()",
        ways="compiled",
        text="""
        StructureError: px.jit expects a model whose structure stays as it was inside a trace, got
                model.layers[0], replaced by another Dense
          fix: make the change outside the transformed function, which the next call sees; a number that calls
                change must be an array
        """,
    ),
    Mistake(
        "structure-other-kind",
        "As above, for a layer that gives way to a function.",
        given="net = px.Chain(px.Dense(2, 2), px.Dense(2, 2))",
        do="net[1] = px.relu",
        ways="compiled",
        text="""
        StructureError: px.jit expects a model whose structure stays as it was inside a trace, got net.layers[1],
                changed from a Dense to something that is no array
          fix: make the change outside the transformed function, which the next call sees; a number that calls
                change must be an array
        """,
    ),
    Mistake(
        "structure-untied",
        "Two paths to one layer are one layer; a copy at one of them is a second set of weights.",
        given="""
        layer = px.Dense(2, 2)
        net = px.Chain(layer, px.tanh, layer)
        """,
        do="net[2] = px.copy(net[0])",
        ways="compiled",
        text="""
        StructureError: px.jit expects a model whose structure stays as it was inside a trace, got net.layers[2],
                shared in another way
          fix: make the change outside the transformed function, which the next call sees; a number that calls
                change must be an array
        """,
    ),
    Mistake(
        "structure-list-argument",
        "Lists and dicts among the arguments are taken apart and put together anew; only Modules carry changes out.",
        given="history, x = [jnp.zeros(())], jnp.ones(2)",
        do="history.append(x.sum())",
        ways="compiled",
        text="""
        StructureError: px.jit expects list and dict arguments to stay as they were (only Modules carry changes
                out), got one whose contents changed
          fix: return the new contents, or keep them in a Module that is an argument
        """,
    ),
    Mistake(
        "structure-set",
        "JAX cannot see into a set: the arrays in it would be compiled in as constants, and never train.",
        given="model = px.Chain(px.Dense(2, 2))",
        do="model.extra = {px.Dense(2, 2, key=1)}",
        text="""
        StructureError: attribute extra expects arrays and Modules in lists, tuples, dicts, Modules or registered
                pytrees, got a set at .extra that holds Dense, which JAX cannot see
          fix: use a list, tuple or dict for .extra
        """,
    ),
    Mistake(
        "structure-deque",
        "Nor into a deque.",
        given="model = px.Chain(px.Dense(2, 2))",
        do="model.queue = deque([jnp.zeros(2)])",
        text="""
        StructureError: attribute queue expects arrays and Modules in lists, tuples, dicts, Modules or registered
                pytrees, got a deque at .queue that holds float32[2], which JAX cannot see
          fix: use a list, tuple or dict for .queue
        """,
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
        text="""
        StructureError: attribute moments expects arrays and Modules in lists, tuples, dicts, Modules or
                registered pytrees, got a Pair at .moments that holds float32[2], which JAX cannot see
          fix: make Pair a px.Module, or register it with jax.tree_util.register_dataclass
        """,
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
        text="""
        StructureError: attribute memories expects arrays and Modules in lists, tuples, dicts, Modules or
                registered pytrees, got a Memory at .memories[0] that holds float32[2], which JAX cannot see
          fix: make Memory a px.Module, or register it with jax.tree_util.register_dataclass
        """,
    ),
    Mistake(
        "structure-cycle",
        "A model is a tree; a part that holds the whole has no end.",
        given="""
        model, x = px.Chain(px.Dense(2, 2)), jnp.ones((1, 2))
        model[0].owner = model
        """,
        do="px.grad(lambda model: model(x).sum())(model)",
        text="""
        StructureError: model Chain expects a tree of Modules, got one that holds itself among its own
                parts, at .layers[0].owner
          fix: keep references back to a parent out of the attributes, and pass it as an argument
        """,
    ),
    Mistake(
        "value-compiled",
        "Inside a compiled function there are no numbers yet, only their shapes.",
        do='px.jit(lambda x: print(f"{px.value(x.sum()):.3f}"))(jnp.ones(3))',
        ways="as written",
        text="""
        StructureError: px.value expects an array with a value, as in eager code and eager gradients, got
                float32[] inside a compiled or mapped function, which has none yet
          fix: take px.jit or px.vmap away while you look, or print it with jax.debug.print
        """,
    ),
    Mistake(
        "lost-alias",
        """Putting an array where it already is gives another name for the same buffer, without Python knowing of it.
        A compiled call that takes the buffer over, to write the new weights into it, ends both.""",
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
        text="""
        LostBuffersError: backup Dense(2 → 2) expects arrays whose buffers are alive, got backup.weight, given
                away to a compiled call, which then failed or knew nothing of this name for it
          fix: rebuild or load the model, and give that call px.jit(..., donate=False)
        """,
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
        text="""
        LostBuffersError: model.layers[0] Dense(2 → 2) expects arrays whose buffers are alive, got
                model.layers[0].weight, given away to a compiled call, which then failed or knew nothing of this
                name for it
          fix: rebuild or load the model, and give that call px.jit(..., donate=False)
        """,
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
        text="""
        LostBuffersError: model Dense(2 → 2) expects arrays whose buffers are alive, got model.weight, given away
                to a compiled call, which then failed or knew nothing of this name for it
          fix: rebuild or load the model, and give that call px.jit(..., donate=False)
        """,
    ),
]
