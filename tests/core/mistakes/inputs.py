"""Inputs that a layer cannot take: width, rank, layout, dtype; and the path to the layer that says so."""

from core.mistakes.table import Mistake

INPUTS = [
    Mistake(
        "dense-width",
        "A layer is given another number of features than it was made for.",
        given="""
        model = px.Chain(px.Dense(3, 4, px.relu), px.Dense(5, 2))
        x = jnp.ones((7, 3))
        """,
        do="model(x)",
        text="""
        ShapeError: model.layers[1] Dense(5 → 2) expects (..., 5), got float32[7, 4]
          fix: give the layer before 5 outputs, or make this one Dense(4, …)
        """,
    ),
    Mistake(
        "dense-scalar",
        "A number has no axis of features.",
        given="model = px.Dense(3, 2)",
        do="model(jnp.ones(()))",
        text="""
        ShapeError: model Dense(3 → 2) expects (..., 3), got float32[]
          fix: put the 3 features into one array
        """,
    ),
    Mistake(
        "dense-transposed",
        """Features are the last axis. Where the width turns up on another axis, the error says so. A square batch
        cannot be told.""",
        given="""
        model = px.Dense(3, 2)
        x = jnp.ones((3, 8))
        """,
        do="model(x)",
        text="""
        ShapeError: model Dense(3 → 2) expects (..., 3), got float32[3, 8]
          fix: move the features, the axis of size 3, to the last axis
        """,
    ),
    Mistake(
        "dense-image",
        "An image goes into a layer of features without having been flattened.",
        given="""
        model = px.Chain(px.Dense(784, 32, px.relu), px.Dense(32, 10))
        x = jnp.ones((2, 28, 28))
        """,
        do="model(x)",
        text="""
        ShapeError: model.layers[0] Dense(784 → 32, relu) expects (..., 784), got float32[2, 28, 28]
          fix: flatten the input first, with px.flatten
        """,
    ),
    Mistake(
        "dense-wider-dtype",
        """A float wider than the parameters is promoted with a warning; with on_mismatch="error" it is refused.""",
        given="""
        model = px.f16(px.Dense(3, 2))
        x = jnp.ones((4, 3))
        """,
        do="""
        with px.dtypes(on_mismatch="error"):
            model(x)
        """,
        text="""
        DtypeError: model Dense(3 → 2) expects inputs of its parameters' dtype float16, got float32[4, 3]
          fix: convert the input with .astype('float16'), or the model with px.f32 or px.f64
        """,
    ),
    Mistake(
        "conv-channels",
        "A convolution is given another number of channels than it was made for.",
        given="""
        model = px.Chain(px.Conv((3, 3), 3, 8), px.Conv((3, 3), 16, 8))
        x = jnp.ones((2, 9, 9, 3))
        """,
        do="model(x)",
        text="""
        ShapeError: model.layers[1] Conv((3, 3), 16 → 8) expects (batch, height, width, 16), got float32[2, 7, 7, 8]
          fix: give the layer before 16 output channels, or this one in_channels=8
        """,
    ),
    Mistake(
        "conv-channels-first",
        "Images are (batch, height, width, channels); PyTorch has the channels second.",
        given="""
        model = px.Conv((3, 3), 3, 8)
        x = jnp.ones((2, 3, 32, 32))
        """,
        do="model(x)",
        text="""
        ShapeError: model Conv((3, 3), 3 → 8) expects (batch, height, width, 3), got float32[2, 3, 32, 32]
          fix: move the channels to the last axis: jnp.moveaxis(x, 1, -1)
        """,
    ),
    Mistake(
        "conv-no-batch",
        "One image is no batch.",
        given="""
        model = px.Conv((3, 3), 3, 8)
        image = jnp.ones((32, 32, 3))
        """,
        do="model(image)",
        text="""
        ShapeError: model Conv((3, 3), 3 → 8) expects (batch, height, width, 3), got float32[32, 32, 3]
          fix: add a batch axis: x[None], or a channel axis at the end: x[..., None]
        """,
    ),
    Mistake(
        "conv-too-small",
        "The kernel is larger than what is left of the image at this depth.",
        given="""
        model = px.Chain(px.Conv((3, 3), 1, 4), px.MaxPool((2, 2)), px.Conv((3, 3), 4, 4))
        x = jnp.ones((2, 6, 6, 1))
        """,
        do="model(x)",
        text="""
        ShapeError: model.layers[2] Conv((3, 3), 4 → 4) expects a padded input of at least 3 along spatial axis 0,
                the extent of its window, got 2 + 0 + 0 in float32[2, 2, 2, 4]
          fix: use a smaller window or dilation, more padding, or a larger input
        """,
    ),
    Mistake(
        "batchnorm-channels",
        "Normalisation is made for the channels of the layer before it.",
        given="""
        model = px.Chain(px.Conv((3, 3), 1, 8), px.BatchNorm(16, px.relu))
        x = jnp.ones((2, 9, 9, 1))
        """,
        do="model(x)",
        text="""
        ShapeError: model.layers[1] BatchNorm(16, relu) expects (batch, ..., 16), got float32[2, 7, 7, 8]
          fix: make this one BatchNorm(8, …), or give the layer before 16 channels
        """,
    ),
    Mistake(
        "batchnorm-channels-first",
        "Channels are the last axis here too.",
        given="""
        model = px.BatchNorm(8)
        x = jnp.ones((2, 8, 5, 5))
        """,
        do="model(x)",
        text="""
        ShapeError: model BatchNorm(8) expects (batch, ..., 8), got float32[2, 8, 5, 5]
          fix: move the channels to the last axis: jnp.moveaxis(x, 1, -1)
        """,
    ),
    Mistake(
        "batchnorm-no-batch",
        "The statistics are over a batch, so there must be one.",
        given="model = px.BatchNorm(8)",
        do="model(jnp.ones(8))",
        text="""
        ShapeError: model BatchNorm(8) expects (batch, ..., 8), got float32[8]
          fix: add a batch axis: x[None]
        """,
    ),
    Mistake(
        "batchnorm-one-value",
        "One value per channel has no variance: its normalised value would be 0 whatever it is, and learn nothing.",
        given="""
        model = px.Chain(px.Dense(3, 4), px.BatchNorm(4), px.Dense(4, 1))
        x = jnp.ones((1, 3))
        """,
        do="px.grad(lambda model: model(x).sum())(model)",
        text="""
        ShapeError: model.layers[1] BatchNorm(4) expects more than one value per channel, got float32[1, 4]
          fix: train on more than one example, or freeze the layer so that it uses its running statistics
        """,
    ),
    Mistake(
        "layernorm-size",
        "The size of a LayerNorm is the size of the last axis, or of the last axes.",
        given="""
        model = px.LayerNorm((4, 8))
        x = jnp.ones((2, 8, 4))
        """,
        do="model(x)",
        text="""
        ShapeError: model LayerNorm(4, 8) expects (..., 4, 8), got float32[2, 8, 4]
          fix: give it the sizes of the last axes
        """,
    ),
    Mistake(
        "embedding-floats",
        "Indices are integers; floats come from loaders that convert everything.",
        given="""
        model = px.Chain(px.Embedding(10, 4), px.Dense(4, 2))
        tokens = jnp.array([[1.0, 2.0]])
        """,
        do="model(tokens)",
        text="""
        DtypeError: model.layers[0] Embedding(10, 4) expects integer indices, got float32[1, 2]
          fix: convert them with .astype(int)
        """,
    ),
    Mistake(
        "maxpool-rank",
        "A window of two axes slides over (batch, height, width, channels).",
        given="""
        model = px.Chain(px.MaxPool((2, 2)))
        image = jnp.ones((8, 8, 3))
        """,
        do="model(image)",
        text="""
        ShapeError: model.layers[0] MaxPool((2, 2)) expects (batch, height, width, channels), got float32[8, 8, 3]
          fix: add a batch axis: x[None]
        """,
    ),
    Mistake(
        "meanpool-window",
        "The window is larger than what is left of the image at this depth.",
        given="""
        model = px.Chain(px.MeanPool((2, 2)), px.MeanPool((4, 4)))
        x = jnp.ones((1, 6, 6, 1))
        """,
        do="model(x)",
        text="""
        ShapeError: model.layers[1] MeanPool((4, 4)) expects a padded input of at least 4 along spatial axis 0,
                the extent of its window, got 3 + 0 + 0 in float32[1, 3, 3, 1]
          fix: use a smaller window or dilation, more padding, or a larger input
        """,
    ),
    Mistake(
        "maxpool-complex",
        "Complex numbers have no order, so no largest one.",
        given="model = px.MaxPool(2)",
        do="model(jnp.ones((1, 4, 1), complex))",
        text="""
        DtypeError: model MaxPool((2,)) expects real numbers, which have an order, got complex64[1, 4, 1]
          fix: pool jnp.abs(x)
        """,
    ),
    Mistake(
        "globalmeanpool-rank",
        "There is no space to pool over.",
        given="model = px.GlobalMeanPool()",
        do="model(jnp.ones((8, 16)))",
        text="""
        ShapeError: model GlobalMeanPool expects (batch, *space, channels) with 1 to 3 spatial axes, got
                float32[8, 16]
          fix: give a leading batch axis and a trailing channel axis
        """,
    ),
    Mistake(
        "flatten-scalar",
        "Flattening keeps the batch axis, so there must be one.",
        do="px.flatten(jnp.ones(()))",
        text="""
        ShapeError: flatten expects (batch, ...), got float32[]
          fix: add a batch axis: x[None]
        """,
    ),
    Mistake(
        "parallel-inputs",
        "Layers side by side take one input each, or all the same.",
        given="model = px.Parallel(operator.add, px.Dense(2, 3), px.Dense(2, 3))",
        do="model(jnp.ones((1, 2)), jnp.ones((1, 2)), jnp.ones((1, 2)))",
        text="""
        RangeError: model Parallel expects one input, or 2, one for each layer, got 3 inputs
          fix: pass one input for all layers, or as many as there are layers
        """,
    ),
    Mistake(
        "path-nested-chains",
        "The path leads from the variable that holds the model to the layer, through everything in between.",
        given="""
        block = lambda width: px.SkipConnection(px.Chain(px.Dense(width, 8, px.tanh), px.Dense(8, 3)), operator.add)
        network = px.Chain(block(3), px.Chain(px.LayerNorm(3), block(4)))
        x = jnp.ones((5, 3))
        """,
        do="network(x)",
        text="""
        ShapeError: network.layers[1].layers[1].layer.layers[0] Dense(4 → 8, tanh) expects (..., 4), got
                float32[5, 3]
          fix: give the layer before 4 outputs, or make this one Dense(3, …)
        """,
    ),
    Mistake(
        "path-named-layers",
        "Layers with names are in the path by name.",
        given="""
        model = px.Chain(encoder=px.Dense(3, 4), head=px.Dense(5, 2))
        x = jnp.ones((1, 3))
        """,
        do="model(x)",
        text="""
        ShapeError: model.layers.head Dense(5 → 2) expects (..., 5), got float32[1, 4]
          fix: give the layer before 5 outputs, or make this one Dense(4, …)
        """,
    ),
    Mistake(
        "path-list-and-dict",
        "Layers in lists and dicts of a class of one's own are found there.",
        given="""
        class Net(px.Module):
            def __init__(self):
                self.blocks = [px.Dense(3, 3) for _ in range(3)]
                self.heads = {"mean": px.Dense(3, 1), "scale": px.Dense(4, 1)}

            def __call__(self, x):
                for block in self.blocks:
                    x = block(x)
                return self.heads["mean"](x), self.heads["scale"](x)

        net = Net()
        x = jnp.ones((1, 3))
        """,
        do="net(x)",
        text="""
        ShapeError: net.heads.scale Dense(4 → 1) expects (..., 4), got float32[1, 3]
          fix: give the layer before 4 outputs, or make this one Dense(3, …)
        """,
    ),
    Mistake(
        "path-other-method",
        "A model entered through a method other than __call__ has its full path too.",
        given="""
        class Autoencoder(px.Module):
            def __init__(self):
                self.encoder = px.Chain(px.Dense(8, 4), px.Dense(3, 2))
                self.decoder = px.Dense(2, 8)

            def encode(self, x):
                return self.encoder(x)

        autoencoder = Autoencoder()
        x = jnp.ones((1, 8))
        """,
        do="autoencoder.encode(x)",
        text="""
        ShapeError: autoencoder.encoder.layers[1] Dense(3 → 2) expects (..., 3), got float32[1, 4]
          fix: give the layer before 3 outputs, or make this one Dense(4, …)
        """,
    ),
    Mistake(
        "path-note",
        "Any other exception that is raised inside a Module has the path as a note.",
        given="""
        class Gate(px.Module):
            def __init__(self, sizes):
                self.sizes = sizes

            def __call__(self, x):
                return x * self.sizes["gate"]

        model = px.Chain(px.Dense(2, 2), Gate({"door": 1.0}))
        x = jnp.ones((1, 2))
        """,
        do="model(x)",
        text="""
        KeyError: 'gate'
        in model.layers[1] Gate
        """,
    ),
]
