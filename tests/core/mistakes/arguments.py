"""Arguments outside their range, refused where they are given."""

from core.mistakes.table import Mistake

ARGUMENTS = [
    Mistake(
        "dropout-probability",
        "p is a probability. Frameworks that take a percentage, or the share to keep, would accept others.",
        do="px.Dropout(2.0)",
        text="""
        RangeError: Dropout expects p in [0, 1], got 2.0
          fix: give the share of elements to drop as a fraction, such as 0.5
        """,
    ),
    Mistake(
        "dense-negative",
        "A layer has at least one input and one output.",
        do="px.Dense(-3, 2)",
        text="""
        RangeError: Dense expects in_size to be a whole number of at least 1, got -3
          fix: give in_size a value of 1 or more
        """,
    ),
    Mistake(
        "dense-fraction",
        "A size that was computed by / is a float.",
        do="px.Dense(8, 8 / 2)",
        text="""
        RangeError: Dense expects out_size to be a whole number of at least 1, got 4.0
          fix: round it, or divide by // in place of /
        """,
    ),
    Mistake(
        "dense-of-transposed",
        "Weights are (in, out); PyTorch has (out, in).",
        do="px.Dense.of(jnp.ones((10, 4)), jnp.ones(10))",
        text="""
        ShapeError: Dense.of expects weight (in, out) and bias (out,), got float32[10, 4] and bias float32[10]
          fix: transpose the weight: weight.T
        """,
    ),
    Mistake(
        "conv-kernel",
        "A kernel has at least one element along each axis.",
        do="px.Conv((3, 0), 3, 8)",
        text="""
        RangeError: Conv expects kernel to be a whole number of at least 1, got 0
          fix: give kernel a value of 1 or more
        """,
    ),
    Mistake(
        "conv-kernel-axes",
        "The kernel has the spatial axes only; channels are arguments of their own.",
        do="px.Conv((3, 3, 3, 8), 3, 8)",
        text="""
        RangeError: Conv expects kernel for 1, 2 or 3 spatial axes, got (3, 3, 3, 8)
          fix: give the spatial axes only, such as (3, 3); channels and batch are not among them
        """,
    ),
    Mistake(
        "conv-stride",
        "A stride of 0 would never move.",
        do="px.Conv((3, 3), 3, 8, stride=0)",
        text="""
        RangeError: Conv expects stride to be a whole number of at least 1, got 0
          fix: give stride a value of 1 or more
        """,
    ),
    Mistake(
        "conv-stride-axes",
        "One number per spatial axis.",
        do="px.Conv((3, 3), 3, 8, stride=(2, 2, 2))",
        text="""
        RangeError: Conv expects one stride, or one for each of 2 spatial axes, got (2, 2, 2)
          fix: give one number for all, or a tuple of 2
        """,
    ),
    Mistake(
        "conv-groups",
        "Every group has the same number of input and output channels.",
        do="px.Conv((3, 3), 10, 9, groups=3)",
        text="""
        RangeError: Conv expects groups that divide in_channels=10 and out_channels=9, got 3
          fix: choose a divisor of both
        """,
    ),
    Mistake(
        "conv-padding-axes",
        "Padding for each spatial axis.",
        do="px.Conv((3, 3), 3, 8, padding=(1, 1, 1))",
        text="""
        RangeError: Conv expects padding for each of 2 spatial axes, got (1, 1, 1)
          fix: give one number for all, 2 numbers or (low, high) pairs, or a name such as 'SAME'
        """,
    ),
    Mistake(
        "batchnorm-eps",
        "Without ε a channel that does not vary would be divided by 0.",
        do="px.BatchNorm(8, eps=0)",
        text="""
        RangeError: BatchNorm expects eps above 0, got 0
          fix: give a small number, such as 1e-5
        """,
    ),
    Mistake(
        "batchnorm-momentum",
        "Momentum is the share of the new batch, as in PyTorch. Keras means the share of the old.",
        do="px.BatchNorm(8, momentum=1.5)",
        text="""
        RangeError: BatchNorm expects momentum in [0, 1], got 1.5
          fix: give the share of the new batch, such as 0.1 (where others have 0.9 as the share of the old)
        """,
    ),
    Mistake(
        "layernorm-zero",
        "A size of 0 has nothing to normalise.",
        do="px.LayerNorm((4, 0))",
        text="""
        RangeError: LayerNorm expects size to be a whole number of at least 1, got 0
          fix: give size a value of 1 or more
        """,
    ),
    Mistake(
        "embedding-zero",
        "There is at least one index.",
        do="px.Embedding(0, 8)",
        text="""
        RangeError: Embedding expects num to be a whole number of at least 1, got 0
          fix: give num a value of 1 or more
        """,
    ),
    Mistake(
        "maxpool-window",
        "A window has at least one element along each axis.",
        do="px.MaxPool((2, -2))",
        text="""
        RangeError: MaxPool expects window to be a whole number of at least 1, got -2
          fix: give window a value of 1 or more
        """,
    ),
    Mistake(
        "chain-no-layer",
        "Everything in a Chain is called, so a number or a list is no layer.",
        do="px.Chain(px.relu, [px.tanh])",
        text="""
        RangeError: Chain expects layers and functions that can be called, got list
          fix: put the layers of a list in with a star: *layers
        """,
    ),
    Mistake(
        "chain-half-named",
        "Layers are held in a list or in a dict, not in both.",
        do="px.Chain(px.relu, head=px.tanh)",
        text="""
        RangeError: Chain expects layers all positional or all named, got both
          fix: give every layer a name: Chain(first=…, second=…), or none
        """,
    ),
    Mistake(
        "parallel-empty",
        "Side by side there must be something.",
        do="px.Parallel(operator.add)",
        text="""
        RangeError: Parallel expects layers, all positional or all named, got none
          fix: give at least one layer after combine; every one with a name, or none
        """,
    ),
    Mistake(
        "rule-negative-rate",
        "A negative learning rate climbs.",
        do="px.optim.Adam(-1e-3)",
        text="""
        RangeError: Adam expects learning_rate in [0, ∞), got -0.001
          fix: choose learning_rate in [0, ∞)
        """,
    ),
    Mistake(
        "rule-momentum",
        "With μ = 1 the steps would add up for ever.",
        do="px.optim.Momentum(0.1, 1.0)",
        text="""
        RangeError: Momentum expects momentum in [0, 1), got 1.0
          fix: choose momentum in [0, 1)
        """,
    ),
    Mistake(
        "dtype-float64",
        "JAX computes in 32 bits unless told otherwise, and would make float32 of what is asked for.",
        do="""
        with px.dtypes(param="float64"):
            px.Dense(3, 2)
        """,
        text="""
        DtypeError: px.dtypes expects a dtype that JAX has switched on, got float64
          fix: call jax.config.update("jax_enable_x64", True) before the first array is made
        """,
    ),
    Mistake(
        "convert-float64",
        "As above, for a model that is there already.",
        given="model = px.Dense(3, 2)",
        do="px.f64(model)",
        text="""
        DtypeError: px.f64 expects a dtype that JAX has switched on, got float64
          fix: call jax.config.update("jax_enable_x64", True) before the first array is made
        """,
    ),
    Mistake(
        "dtype-policy",
        "There are four answers to an input of a wider dtype.",
        do="""
        with px.dtypes(on_mismatch="ignore"):
            px.Dense(3, 2)
        """,
        text="""
        RangeError: px.dtypes expects on_mismatch to be one of "warn", "error", "convert", "promote", got 'ignore'
          fix: choose one of them
        """,
    ),
    Mistake(
        "device-missing",
        "There is no such device here.",
        given="model = px.Dense(3, 2)",
        do='px.to(model, "tpu")',
        text="""
        RangeError: px.devices expects a device of kind 'cpu', got 'tpu'
          fix: px.devices() lists them
        """,
    ),
    Mistake(
        "tie-arrays",
        "An array does not know where it stands. In PyTorch a parameter is an object, which an assignment shares.",
        given="model = px.Chain(px.Embedding(9, 4), px.Dense(4, 9))",
        do="px.tie(model, model[1].weight, model[0].weight)",
        text="""
        StructureError: px.tie expects the path of an array of this Chain, got the array at layers.1.weight itself
          fix: name two of its paths as text, such as 'layers.0.weight', 'layers.1.weight', 'layers.1.bias'
        """,
    ),
    Mistake(
        "tie-transposed",
        "An Embedding's weight is (num, dim), that of the layer that gives its logits (dim, num).",
        given="model = px.Chain(px.Embedding(9, 4), px.Dense(4, 9))",
        do='px.tie(model, "layers.1.weight", "layers.0.weight")',
        text="""
        ShapeError: px.tie expects layers.1.weight float32[4, 9] to be layers.0.weight, got layers.0.weight
                float32[9, 4]
          fix: pass transpose=True
        """,
    ),
    Mistake(
        "muon-bias",
        "Muon makes the step of a matrix orthogonal; a bias has no such step, nor have the biases of stacked layers.",
        given="model = px.RepeatedLayer(lambda: px.Dense(3, 3), 4)",
        do="px.Optimizer(px.optim.Muon(), model)",
        text="""
        ShapeError: Muon expects a matrix or a kernel at block.bias, got float32[4, 3], a bias of each layer
          fix: give it another rule: px.optim.groups([(px.optim.of_kind("matrix", "kernel"), px.optim.Muon()),
                ("*", px.optim.AdamW())])
        """,
    ),
    Mistake(
        "jacobian-mode",
        "There are two ways to compute a Jacobian.",
        do='px.jacobian(jnp.sin, mode="both")',
        text="""
        RangeError: px.jacobian expects mode "reverse" or "forward", got 'both'
          fix: use "reverse" for few outputs, "forward" for few inputs
        """,
    ),
    Mistake(
        "option-elsewhere",
        "An argument of another library. What a layer passes on to an inner one is blamed on the layer.",
        do="px.LSTM(2, 3, batch_first=True)",
        ways="as written",
        text="""
        OptionError: LSTM expects arguments among (in_size, hidden_size, act, num_layers=, bidirectional=, dropout=,
                return_state=, stateful=, truncate=, unroll=, proj_size=, key=, **cell), got batch_first=True
          fix: leave it out: the batch is the first axis, always
        """,
    ),
    Mistake(
        "option-renamed",
        "An argument that has another name here.",
        given="x = jnp.ones((2, 3))",
        do="px.softmax(x, dim=-1)",
        text="""
        OptionError: softmax expects arguments among (x, axis, where=), got dim=-1
          fix: write axis= for dim=
        """,
    ),
    Mistake(
        "name-elsewhere",
        "A name of another library. `from phlox.nn import Linear` says the same.",
        do="px.nn.Linear(3, 2)",
        text="""
        UnknownNameError: px.nn expects a name of its own, got Linear
          fix: write px.Dense(in, out) for nn.Linear(in, out): an activation is its third argument
        """,
    ),
    Mistake(
        "method-elsewhere",
        "A method of another library's models.",
        given="model = px.Dense(3, 2)",
        do="model.eval()",
        text="""
        UnknownNameError: Dense expects a method or attribute it has, got .eval
          fix: leave it out: a model trains inside px.grad and infers elsewhere; px.testmode(model) pins it
        """,
    ),
    Mistake(
        "activation-name",
        "Activations are functions, not their names.",
        do='px.Dense(3, 2, "relu")',
        text="""
        RangeError: Dense expects an activation that is a function, got 'relu'
          fix: write px.relu, the function
        """,
    ),
    Mistake(
        "forward-name",
        "A Module computes in `__call__`.",
        given="""
        class Net(px.Module):
            def forward(self, x):
                return x

        model, x = Net(), jnp.ones(3)
        """,
        do="model(x)",
        text="""
        StructureError: Net expects __call__ for its forward pass, got forward alone
          fix: rename forward to __call__
        """,
    ),
]
