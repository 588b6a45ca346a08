"""What differs, so that it bites: the defaults side by side, and claims in words. A test measures each of them."""

from __future__ import annotations

FRAMEWORKS = ("Phlox", "PyTorch", "Keras", "Flax", "Equinox", "Flux")

# What, then a value for each framework. Flax is NNX, whose defaults are Linen's. Losses and rules of Flax and
# Equinox are optax's, activations theirs and JAX's.
DEFAULTS: dict[str, tuple[str, ...]] = {
    "images": ("NHWC", "NCHW", "NHWC", "NHWC", "CHW, no batch", "WHCN"),
    "weight of a dense layer": ("(in, out)", "(out, in)", "(in, out)", "(in, out)", "(out, in)", "(out, in)"),
    "weight of a convolution": ("HWIO", "OIHW", "HWIO", "HWIO", "OIHW", "WHIO, flipped"),
    "padding of a convolution": ("0", "0", "0", "same", "0", "0"),
    "stride of max pooling": ("window", "window", "window", "1", "1", "window"),
    "dense weights start": ("Glorot U", "U(±1/√in)", "Glorot U", "LeCun N", "U(±1/√in)", "Glorot U"),
    "dense biases start": ("0", "U(±1/√in)", "0", "0", "U(±1/√in)", "0"),
    "embeddings start": ("N(0, 1)", "N(0, 1)", "U(±0.05)", "N(0, 1/dim)", "N(0, 1)", "N(0, 1)"),
    "forget bias of LSTM": ("1", "two U(±1/√h)", "1", "0", "U(±1/√h)", "0"),
    "gates of GRU": ("r, z, n", "r, z, n", "z, r, n", "r, z, n", "r, z, n", "r, z, n"),
    "BatchNorm: momentum": ("0.1 of new", "0.1 of new", "0.99 of old", "0.99 of old", "0.99 of old", "0.1 of new"),
    "BatchNorm: running variance": ("unbiased", "unbiased", "biased", "biased", "biased", "unbiased"),
    "BatchNorm: eps": ("1e-5", "1e-5", "1e-3", "1e-5", "1e-5", "1e-5"),
    "LayerNorm: eps": ("1e-5", "1e-5", "1e-3", "1e-6", "1e-5", "1e-5"),
    "Adam: eps": ("1e-8", "1e-8", "1e-7", "1e-8", "1e-8", "1e-8"),
    "AdamW: decay": ("0.01", "0.01", "0.004", "1e-4", "1e-4", "0"),
    "gelu": ("exact", "exact", "exact", "tanh", "tanh", "tanh"),
    "slope of leaky_relu": ("0.01", "0.01", "0.2", "0.01", "0.01", "0.01"),
    "a new model": ("infers", "trains", "infers", "trains", "trains", "infers"),
    "loss arguments": (*["prediction, target"] * 2, "target, prediction", *["prediction, target"] * 3),
    "a mean square function gives": ("the mean", "the mean", "one per row", "all elements", "all elements", "the mean"),
    "classes count from": ("0", "0", "0", "0", "0", "1"),
}

CLAIMS: dict[str, str] = {
    "flatten": (
        "**Features behind a flatten are in another order.** PyTorch and Equinox flatten (C, H, W), Phlox (H, W, "
        "C). The weight of the dense layer behind it moves by `w.reshape(out, C, H, W).transpose(2, 3, 1, "
        "0).reshape(-1, out)`."
    ),
    "same": (
        '**"SAME" is not `padding=1` where there is a stride.** A 3×3 kernel with stride 2 on an even size pads '
        "nothing below and one above, as in Flax and Keras; PyTorch's 1 pads both sides. The shapes are equal, the "
        "numbers are not. Phlox takes either."
    ),
    "rank": (
        "**An int is one axis.** `px.Conv(3, …)` and `px.MaxPool(2)` work on sequences; images need `(3, 3)` and "
        "`(2, 2)`."
    ),
    "momentum": (
        "**Momentum of BatchNorm is the share of the new batch**, as in PyTorch and Flux: 0.99 of Keras, Flax and "
        "Equinox is `momentum=0.01` here. The unbiased variance is n/(n-1) times theirs."
    ),
    "mode": (
        "**A model trains while it is differentiated and infers elsewhere.** A teacher that the loss only calls "
        "infers, also inside the student's gradient; what is frozen infers. In PyTorch, NNX and Equinox it trains "
        "until told otherwise."
    ),
    "jit": (
        "**State that plain `jax.jit` would lose is an error**, with the cure; a BatchNorm of NNX keeps its old "
        "statistics there in silence. Inside `px.jit` and the other transforms of `px` State is written back."
    ),
    "key": (
        "**A dropout draws from a key of its own**, which moves on with each call in training and is saved with the "
        "model. Linen and Equinox want a key at each call, NNX has `rngs=`."
    ),
    "tied": (
        "**Assigning a weight to another layer does not tie them.** Arrays are values: after `self.head.weight = "
        "self.embed.weight` there are two parameters, which part at the first step (the optimiser warns). In PyTorch "
        'and NNX it ties. `px.tie(self, "head.weight", "embed.weight")` does here, `transpose=True` turned; a whole '
        "layer is shared by assigning it."
    ),
    "keras-eps": (
        "**Keras adds eps before Adam's correction.** Its first step is that of eps/√(1-β₂), 32 times as much; "
        "after some thousand steps they agree."
    ),
    "decay": (
        "**`weight_decay` of PyTorch's Adam is not AdamW.** It adds to the gradient: "
        "`px.optim.chain(px.optim.WeightDecay(λ), px.optim.Adam(lr))`. AdamW is PyTorch's: the rate multiplies λ."
    ),
    "velocity": (
        "**The rate stands outside the momentum**, as in PyTorch; Keras and Flux have it inside. Steps are the same "
        "until the rate changes."
    ),
    "logits": (
        "**`cross_entropy` takes logits.** In Keras probabilities are the default (`from_logits=False`). The names "
        "say which: `binary_cross_entropy` takes probabilities, `binary_cross_entropy_with_logits` logits."
    ),
    "kl": (
        "**`kl_divergence` takes probabilities, both times**, and its mean is over rows: PyTorch's `kl_div(p.log(), "
        't, reduction="batchmean")`.'
    ),
    "shapes": (
        "**Losses do not broadcast.** (n,) against (n, 1) is an error; PyTorch warns and takes the mean of n² "
        "differences."
    ),
    "gru-biases": (
        "**GRU has one bias where PyTorch and Keras have two**, in the gates r and z: add them up; n keeps both. In "
        "an LSTM add both of PyTorch's in all gates. Its order i, f, g, o is the same everywhere."
    ),
    "state": (
        "**A recurrent layer gives its outputs alone.** `y, h = px.GRU(2, 3)(x)` would take a batch of two apart, in "
        "silence; `y, h = px.GRU(2, 3, return_state=True)(x)` is PyTorch's pair, and `y[:, -1]` Keras' end."
    ),
    "concatenate": (
        "**`px.concatenate(a, b)` joins features**, the last axis, as Keras does; a list, `px.concatenate([a, b], "
        "axis)`, is joined as by NumPy, JAX and PyTorch, along the first axis unless told otherwise."
    ),
    "flip": (
        "**Flux's `Conv` flips its kernel.** Reverse the spatial axes of weights that come from there; those of "
        "`CrossCor` stay."
    ),
}
