"""Write docs/models.md: how models are made, loaded and fine-tuned, and the table of the families there are."""

from __future__ import annotations

import json
from pathlib import Path

import phlox as px
from phlox.models._catalogue import FAMILIES

ROOT = Path(__file__).resolve().parent.parent

TEXT = """\
# Models with anybody's weights

A checkpoint opens as a plain Phlox model: Python that you read, change and differentiate, on every device.

    model = px.models.load("microsoft/resnet-50")        # a repository of the hub: pip install "phlox[hub]"
    model = px.models.load("folder/")                    # or any folder with config.json and weights: no network
    scores = model(images)                               # (batch, height, width, channels) → (batch, classes)

```python
>>> import jax.numpy as jnp, phlox as px
>>> model = px.models.create("resnet18", classes=10, key=0)    # the same with fresh weights; px.models.list() has names
>>> images = jnp.ones((2, 64, 64, 3))
>>> px.output_shape(model, images)
(2, 10)
>>> [tuple(state.shape) for state in px.eval_shape(model.hidden_states, images)]
[(2, 16, 16, 64), (2, 16, 16, 64), (2, 8, 8, 128), (2, 4, 4, 256), (2, 2, 2, 512)]
>>> model.head = px.Dense(model.width, 3)                       # another head is an attribute

```

`model.features(images)` is the last map, `model.pool` makes one vector of it, `model.head` scores of that.
`px.models.load(folder, classes=3)` draws a new head for other classes; `classes=0` leaves it out; `dtype="bfloat16"`
converts. Every name in a file must find its place, and every array of the model its name: what is left over on either
side is an error that lists both. Nothing in a folder is executed, and a model appears whole or not at all.

`px.models.save(model, folder)` writes what transformers reads (`names="timm"`, where the family has them, what timm
reads); `px.save` writes any model, also one that you changed.

## Fine-tuning by depth

Each model names its parts from the input to the head, one table for all that goes by depth:

```python
>>> model.parts()
('stem', 'stages.0', 'stages.1', 'stages.2', 'stages.3', 'head')
>>> px.models.freeze_depth(model, -1)                            # all but the head stands still, statistics too
>>> rule = px.models.layer_decay(model, px.optim.AdamW, 1e-3, decay=0.75)    # slower towards the input
>>> opt = px.Optimizer(rule, model)                              # here of the head alone: no frozen part has a rate
>>> px.models.unfreezing(model, every=2).schedule[2]             # a callback of px.fit
('stages.3',)

```

## Weights that belong to no family

`px.weights.read(file)` gives names and arrays of safetensors, PyTorch, Keras, Flax, Orbax, NPZ and HDF5 files, and
`px.weights.convert(model, arrays, rules)` matches them with a model of your own, by your rules and by name and shape,
says what it chose and why, and refuses what is ambiguous ([weights.md](weights.md)).

## The families

Each row is made of tests: tiny random models of the other library, loaded here, compared in scores, every hidden state,
the gradient of every weight and the statistics that training moves, and written back. The numbers are the largest
differences that the tests saw, relative to the largest number of each array. What is not in the table is not claimed.
`px.models.list("resnet*")` has the names of all variants.

| model | variants | names | beside | scores, float32 | scores, float64 | gradients, float64 |
|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Write the page."""
    seen = json.loads((ROOT / "docs" / "models.json").read_text("utf-8"))
    rows = [row for family in FAMILIES for row in [_row(family, seen)]]
    (ROOT / "docs" / "models.md").write_text(TEXT + "\n".join(rows) + "\n\n" + _absent(), "utf-8")


def _row(family: object, seen: dict[str, dict[str, object]]) -> str:
    name = family.model.__name__
    assert hasattr(px.models, name), f"{name} is not exported"
    found = seen[family.config.model_type]
    numbers = [_number(found.get(what)) for what in ("scores float32", "scores float64", "gradients float64")]
    if not numbers[2] and "gradients float32" in found:
        numbers[2] = f"{_number(found['gradients float32'])} in float32"
    variants = _variants(list(family.variants))
    dialects, oracles = ", ".join(family.names), ", ".join(found["oracles"])
    return f"| `{name}` | {variants} | {dialects} | {oracles} | {' | '.join(numbers)} |"


def _variants(names: list[str]) -> str:
    if len(names) < 5:
        return ", ".join(f"`{name}`" for name in names) or "by config"
    return f"{len(names)}: `{names[0]}`, `{names[1]}`, … `{names[-1]}`"


def _number(value: object) -> str:
    return "" if value is None else f"{value:.0e}".replace("e-0", "e-")


def _absent() -> str:
    return """\
## Absent

Heads for masked images, depth and segmentation, Mask R-CNN and its kin; in DETR dilation, learned positions and
masks; names of timm for DINOv2 with registers and for MobileNetV3, of torchvision for ConvNeXt; learned variances in
the samplers of diffusion, and configs of the hub for its networks (their names in files are there:
`px.weights.convert`). `names="timm"` writes no `pretrained_cfg`. Keras' applications have no names here: their files
are read, and `px.weights.convert` fills a model by rules.

Of text: BERT as a decoder, images in Gemma 3, mT5, heads of T5 for classes and questions, questions for decoders, the
128k sizes of Phi-3 by name. Of sight and text: heads for classes of images, NaFlex of SigLIP 2, names of OpenCLIP. Of
sound: wav2vec 2.0's adapters, its pre-training and x-vectors.

In an environment of their own (`make test-area AREA=vision`) the classifiers are compared with timm and torchvision
too: scores, the names and shapes of every published variant, folders both ways, and preprocessing.
"""


main()
