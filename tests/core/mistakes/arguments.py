"""Arguments outside their range, refused where they are given."""

from core.mistakes.table import Mistake

ARGUMENTS = [
    Mistake(
        "dropout-probability",
        "p is a probability. Frameworks that take a percentage, or the share to keep, would accept others.",
        do="px.Dropout(2.0)",
        text="",
    ),
    Mistake("dense-negative", "A layer has at least one input and one output.", do="px.Dense(-3, 2)", text=""),
    Mistake("dense-fraction", "A size that was computed by / is a float.", do="px.Dense(8, 8 / 2)", text=""),
    Mistake(
        "dense-of-transposed",
        "Weights are (in, out); PyTorch has (out, in).",
        do="px.Dense.of(jnp.ones((10, 4)), jnp.ones(10))",
        text="",
    ),
    Mistake("conv-kernel", "A kernel has at least one element along each axis.", do="px.Conv((3, 0), 3, 8)", text=""),
    Mistake(
        "conv-kernel-axes",
        "The kernel has the spatial axes only; channels are arguments of their own.",
        do="px.Conv((3, 3, 3, 8), 3, 8)",
        text="",
    ),
    Mistake("conv-stride", "A stride of 0 would never move.", do="px.Conv((3, 3), 3, 8, stride=0)", text=""),
    Mistake(
        "conv-stride-axes", "One number per spatial axis.", do="px.Conv((3, 3), 3, 8, stride=(2, 2, 2))", text=""
    ),
    Mistake(
        "conv-groups",
        "Every group has the same number of input and output channels.",
        do="px.Conv((3, 3), 10, 9, groups=3)",
        text="",
    ),
    Mistake(
        "conv-padding-axes", "Padding for each spatial axis.", do="px.Conv((3, 3), 3, 8, padding=(1, 1, 1))", text=""
    ),
    Mistake(
        "batchnorm-eps",
        "Without ε a channel that does not vary would be divided by 0.",
        do="px.BatchNorm(8, eps=0)",
        text="",
    ),
    Mistake(
        "batchnorm-momentum",
        "Momentum is the share of the new batch, as in PyTorch. Keras means the share of the old.",
        do="px.BatchNorm(8, momentum=1.5)",
        text="",
    ),
    Mistake("layernorm-zero", "A size of 0 has nothing to normalise.", do="px.LayerNorm((4, 0))", text=""),
    Mistake("embedding-zero", "There is at least one index.", do="px.Embedding(0, 8)", text=""),
    Mistake("maxpool-window", "A window has at least one element along each axis.", do="px.MaxPool((2, -2))", text=""),
    Mistake(
        "chain-no-layer",
        "Everything in a Chain is called, so a number or a list is no layer.",
        do="px.Chain(px.relu, [px.tanh])",
        text="",
    ),
    Mistake(
        "chain-half-named",
        "Layers are held in a list or in a dict, not in both.",
        do="px.Chain(px.relu, head=px.tanh)",
        text="",
    ),
    Mistake("parallel-empty", "Side by side there must be something.", do="px.Parallel(operator.add)", text=""),
    Mistake("rule-negative-rate", "A negative learning rate climbs.", do="px.optim.Adam(-1e-3)", text=""),
    Mistake("rule-momentum", "With μ = 1 the steps would add up for ever.", do="px.optim.Momentum(0.1, 1.0)", text=""),
    Mistake(
        "dtype-float64",
        "JAX computes in 32 bits unless told otherwise, and would make float32 of what is asked for.",
        do="""
        with px.dtypes(param="float64"):
            px.Dense(3, 2)
        """,
        text="",
    ),
    Mistake(
        "convert-float64",
        "As above, for a model that is there already.",
        given="model = px.Dense(3, 2)",
        do="px.f64(model)",
        text="",
    ),
    Mistake(
        "dtype-policy",
        "There are four answers to an input of a wider dtype.",
        do="""
        with px.dtypes(on_mismatch="ignore"):
            px.Dense(3, 2)
        """,
        text="",
    ),
    Mistake("device-missing", "There is no such device here.", given="model = px.Dense(3, 2)", do='px.to(model, "tpu")',
            text=""),
    Mistake("jacobian-mode", "There are two ways to compute a Jacobian.", do='px.jacobian(jnp.sin, mode="both")', text=""),
]
