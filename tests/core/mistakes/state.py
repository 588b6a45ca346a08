"""State that would be lost, or would leave a tracer in the model; randomness without a key; threads."""

from core.mistakes.table import Mistake

COUNTER = """
class Counter(px.Module):
    count: px.State

    def __init__(self):
        self.count = jnp.zeros(())

    def __call__(self, x):
        self.count = self.count + 1
        return x

"""

TALLY = """
class Tally(px.Module):
    counts: px.State

    def __init__(self):
        self.counts = {"calls": [jnp.zeros(())]}

    def __call__(self, x):
        self.counts["calls"][0] = self.counts["calls"][0] + x.sum()
        return x

"""

NORM = """
model = px.trainmode(px.Chain(px.Dense(3, 4), px.BatchNorm(4)))
x = jnp.ones((5, 3)) * jnp.arange(5.0)[:, None]
"""

STATE = [
    Mistake(
        "state-plain-jit",
        """Plain JAX rebuilds the model from its arrays, calls that, and throws it away: the statistics would stand
        still.""",
        given=NORM,
        do="jax.jit(lambda model, x: model(x))(model, x)",
        text="""
        StateError: model.layers[1] BatchNorm(4) expects its State to be written inside px transforms, got a write
                to model.layers[1].mean in a copy that a plain JAX transform made, where it would be lost
          fix: use px.jit, px.grad, px.vmap, px.scan, … in place of the jax one, or px.apply on the pure view
        """,
    ),
    Mistake(
        "state-plain-grad",
        "As under plain jax.jit; plain jax.grad has no place for State.",
        given=COUNTER + "counter, x = Counter(), jnp.ones(2)",
        do="jax.grad(lambda counter, x: counter(x).sum())(counter, x)",
        text="""
        StateError: counter Counter expects its State to be written inside px transforms, got a write to
                counter.count in a copy that a plain JAX transform made, where it would be lost
          fix: use px.jit, px.grad, px.vmap, px.scan, … in place of the jax one, or px.apply on the pure view
        """,
    ),
    Mistake(
        "state-plain-scan",
        "The carry of a plain jax.lax.scan is rebuilt in every round, and its State with it.",
        given=COUNTER + "counter, xs = Counter(), jnp.ones((3, 2))",
        do="jax.lax.scan(lambda counter, x: (counter, counter(x)), counter, xs)",
        text="""
        StateError: counter Counter expects its State to be written inside px transforms, got a write to
                counter.count in a copy that a plain JAX transform made, where it would be lost
          fix: use px.jit, px.grad, px.vmap, px.scan, … in place of the jax one, or px.apply on the pure view
        """,
    ),
    Mistake(
        "state-captured-grad",
        """A gradient may be computed more than once, so it gives State back only on its arguments. A captured model
        that writes (here a BatchNorm pinned to training) is refused.""",
        given=NORM,
        do="px.grad(lambda x: model(x).sum())(x)",
        text="""
        StateError: model.layers[1] BatchNorm(4) expects to be an argument of the px.grad function that writes its
                State, got a write to model.layers[1].mean, captured from outside
          fix: pass model as an argument: px.grad(lambda x, model: …)(x, model)
        """,
    ),
    Mistake(
        "state-captured-grad-dict",
        "State in lists and dicts is watched too.",
        given=TALLY + "tally, x = Tally(), jnp.ones(2)",
        do="px.grad(lambda x: tally(x).sum())(x)",
        text="""
        StateError: tally Tally expects to be an argument of the px.grad function that writes its State, got a
                write to tally.counts.calls[0], captured from outside
          fix: pass tally as an argument: px.grad(lambda x, tally: …)(x, tally)
        """,
    ),
    Mistake(
        "state-captured-vmap",
        "One State, as many values as examples: which to keep?",
        given=COUNTER + "counter, xs = Counter(), jnp.ones((3, 2))",
        do="px.vmap(lambda x: counter(x))(xs)",
        text="""
        StateError: counter Counter expects to be an argument of the px.vmap function that writes its State, got a
                write to counter.count, captured from outside
          fix: pass counter as an argument: px.vmap(lambda x, counter: …, in_axes=(0, None))(x, counter)
        """,
    ),
    Mistake(
        "state-captured-vmap-list",
        "As above, for State in lists and dicts.",
        given=TALLY + "tally, xs = Tally(), jnp.ones((3, 2))",
        do="px.vmap(lambda x: tally(x))(xs)",
        text="""
        StateError: tally Tally expects to be an argument of the px.vmap function that writes its State, got a
                write to tally.counts.calls[0], captured from outside
          fix: pass tally as an argument: px.vmap(lambda x, tally: …, in_axes=(0, None))(x, tally)
        """,
    ),
    Mistake(
        "state-plain-vmap",
        "Plain JAX knows nothing of the write, and would leave a tracer in the model.",
        given=COUNTER + "counter, xs = Counter(), jnp.ones((3, 2))",
        do="jax.vmap(lambda x: counter(x))(xs)",
        text="""
        StateError: counter Counter expects its State to be written inside px transforms, got a write to
                counter.count from a plain JAX transform that captured it, which would leave a tracer in it
          fix: use the px transform of the same name, and pass counter as an argument
        """,
    ),
    Mistake(
        "state-plain-jit-captured",
        "As under plain jax.vmap: the write would leave a tracer behind, here by an assignment outside of __call__.",
        given=COUNTER + "counter, x = Counter(), jnp.ones(2)",
        do="""
        @jax.jit
        def plain(x):
            counter.count = counter.count + x.sum()
            return x

        plain(x)
        """,
        text="""
        StateError: counter Counter expects its State to be written inside px transforms, got a write to
                counter.count from a plain JAX transform that captured it, which would leave a tracer in it
          fix: use the px transform of the same name, and pass counter as an argument
        """,
    ),
    Mistake(
        "state-plain-vmap-list",
        "Writes into lists and dicts pass by the attribute; the list gets back what it held.",
        given=TALLY + "tally, xs = Tally(), jnp.ones((3, 2))",
        do="jax.vmap(lambda x: tally(x))(xs)",
        text="""
        StateError: tally Tally expects its State to be written inside px transforms, got a write to
                tally.counts.calls[0] from a plain JAX transform that captured it, which would leave a tracer in it
          fix: use the px transform of the same name, and pass tally as an argument
        """,
    ),
    Mistake(
        "state-batched",
        "A model that is one for all examples cannot keep a value for each of them.",
        given="""
        class Last(px.Module):
            seen: px.State

            def __init__(self):
                self.seen = jnp.zeros(2)

            def __call__(self, x):
                self.seen = x
                return x.sum()

        model, xs = px.Chain(Last()), jnp.ones((3, 2))
        """,
        do="px.vmap(lambda model, x: model(x), in_axes=(None, 0))(model, xs)",
        text="""
        StateError: px.vmap expects State that is one for all examples to be written with one value, got a value
                for model.layers[0].seen that differs between examples
          fix: reduce it over the axis, jax.lax.pmean(value, "batch") inside px.vmap(…, axis_name="batch"), or map
                over a stack of models
        """,
    ),
    Mistake(
        "state-dtype",
        "A compiled program has fixed dtypes; State that changes its own would need a new one at every other step.",
        given="""
        class Average(px.Module):
            value: px.State

            def __init__(self):
                self.value = jnp.zeros(())

            def __call__(self, x):
                self.value = x.mean().astype(jnp.bfloat16)
                return x

        model, x = px.Chain(Average()), jnp.ones(2)
        """,
        do="px.grad(lambda model: model(x).sum())(model)",
        text="""
        StructureError: px.grad expects model.layers[0].value to keep its dtype float32 inside a trace, got
                bfloat16[]
          fix: write it with .astype('float32')
        """,
    ),
    Mistake(
        "state-constant",
        "px.constant makes a read-only copy; its values may be compiled into a program.",
        given=COUNTER + "counter = px.constant(Counter())",
        do="counter(jnp.ones(2))",
        ways="as written",
        text="""
        StateError: counter Counter expects no writes, because px.constant made it, got a write to counter.count
          fix: write to the model that px.constant copied, and make the constant anew
        """,
    ),
    Mistake(
        "state-while-test",
        """A test is evaluated once more than the body, so it may only read. Line by line the loop is a Python loop, and
        nothing is lost.""",
        given=COUNTER + "counter = Counter()",
        do="px.while_loop(lambda c: c(c.count) < 3, lambda c: c, counter)",
        ways="compiled",
        text="""
        StateError: px.while_loop expects a test that only reads, got a write to counter.count
          fix: make the change in the body, and let the test look at the result
        """,
    ),
    Mistake(
        "random-in-trace",
        "A key drawn from the global stream while tracing would be compiled in: the same numbers at every call.",
        do="px.jit(lambda x: px.Dense(2, 3)(x))(jnp.ones((1, 2)))",
        ways="as written",
        text="""
        StateError: the global stream of px.seed expects no draw inside a traced function, got one, which would
                give the same numbers at every call
          fix: pass key= to the constructor, or open `with px.seed(key):` inside the function
        """,
    ),
    Mistake(
        "two-threads",
        "A step gives away the old arrays of the model it changes; a second thread would read them when they are gone.",
        given="""
        model = px.Dense(2, 2)
        entered, leave, errors = threading.Event(), threading.Event(), []

        def hold(x):
            entered.set()
            leave.wait()
            return np.asarray(x)

        @px.jit
        def step(model):
            model.weight = jax.pure_callback(hold, jax.ShapeDtypeStruct((2, 2), "float32"), model.weight)
        """,
        do="""
        first = threading.Thread(target=step, args=(model,))
        first.start()
        entered.wait()
        try:
            step(model)
        finally:
            leave.set()
            first.join()
        """,
        ways="as written",
        text="""
        StateError: px.jit expects one thread at a time to change a model, got two threads stepping model Dense(2
                → 2)
          fix: give each thread its own px.copy(model), or put a lock around the step
        """,
    ),
]
