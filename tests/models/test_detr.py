"""DETR beside the hub's: answers, gradients of its own loss, the matching, and what becomes of its answers."""

import copy
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import phlox as px
from hub import BARS, agrees, covered, first, gradients, images, in_dtype, note, there_again, tiny
from kit import oracle
from phlox.models._catalogue import family_of, variant
from phlox.models.vision._detr import DecoderLayer, EncoderLayer
from phlox.models.vision._detr_loss import match
from phlox.models.vision._resnet import TIMM

torch = oracle("torch")
transformers = oracle("transformers")
hub_loss = oracle("transformers.loss.loss_for_object_detection")

SIZES = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 20,
    "encoder_attention_heads": 2, "decoder_attention_heads": 4, "num_queries": 5, "num_labels": 4,
    "init_std": 0.3,  # or attention would weigh all alike
}  # fmt: skip


def config_of(backbone, **options):
    depth = len(backbone["depths"])
    there = transformers.ResNetConfig(**backbone, out_features=[f"stage{depth}"])
    return transformers.DetrConfig(use_timm_backbone=False, backbone_config=there, **{**SIZES, **options})


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    config = config_of({"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"})
    folder = tmp_path_factory.mktemp("detr")
    theirs = tiny(transformers.DetrForObjectDetection, config, folder)
    return theirs, px.models.load(folder)


def padded(batch, height, width):
    """A mask of pictures of unlike sizes, each in the upper left corner."""
    mask = np.ones((batch, height, width), np.int32)
    mask[-1, height * 3 // 4 :], mask[-1, :, width // 2 :] = 0, 0
    return mask


@contextmanager
def doubles():
    """With the weights of classes that their loss makes in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        with in_dtype("float64"):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def objects(counts, classes, seed=0, most=None):
    """Random objects of each picture: padded for us, as lists for them."""
    rng, most = np.random.default_rng(seed), most or max(counts)
    labels, boxes = np.full((len(counts), most), -1), np.zeros((len(counts), most, 4))
    for i, n in enumerate(counts):
        labels[i, :n] = rng.integers(0, classes, n)
        boxes[i, :n] = rng.uniform(0.1, 0.5, (n, 4))
    theirs = [
        {"class_labels": torch.tensor(labels[i, :n]), "boxes": torch.tensor(boxes[i, :n])} for i, n in enumerate(counts)
    ]
    return {"labels": labels, "boxes": boxes}, theirs


def compare(ours, theirs, x, mask, learn=True):
    """In float64: scores, boxes, all hidden states, the loss; its gradient by every weight, the backbone's too."""
    with doubles():
        ours, theirs = px.testmode(px.f64(px.copy(ours))), copy.deepcopy(theirs).double()
        px.thaw(ours)
        theirs.model.unfreeze_backbone()
        targets, named = objects((3, 1), 4)

        @px.jit
        def run(model, x, mask, targets):
            def loss(model):
                states = model.hidden_states(x, mask)
                output = model.answer(states)
                return px.models.detr_loss(output, targets, config=model.config), (output, states)

            return px.value_and_grad(loss, has_aux=True)(model) if learn else (loss(model), None)

        (loss, (output, states)), grads = run(ours, jnp.asarray(x, "float64"), mask, targets)
        want = theirs(first(x).double(), torch.tensor(mask), labels=named, output_hidden_states=True)
        want.loss.backward()
        bar = BARS["float64"]["value"]
        seen = agrees(output.logits, want.logits.detach(), "scores", bar)
        agrees(output.boxes, want.pred_boxes.detach(), "boxes", bar)
        agrees(loss, want.loss.item(), "loss", bar)
        for name in ("encoder", "decoder"):
            those = want[f"{name}_hidden_states"]
            assert len(getattr(states, name)) == len(those)
            for i, (a, b) in enumerate(zip(getattr(states, name), those, strict=True)):
                agrees(a, b.detach(), f"{name}'s hidden state {i}", bar)
        if not learn:
            return
        names = family_of(ours.config, "test").names_of("transformers", ours.config)
        there = {_in_file(name): p.grad.numpy() for name, p in theirs.named_parameters()}
        worst = gradients(names.to_theirs(grads), there, 1e-9)  # many sums of attention pass on what each rounds off
        note(ours, "transformers", **{"scores float64": seen, "gradients float64": worst})


def _in_file(name):
    """The name of a weight in files, which is older than that in their model."""
    name = name.replace("o_proj", "out_proj").replace("model.backbone.", "model.backbone.conv_encoder.")
    return name.replace("mlp.fc", "fc")


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    compare(ours, theirs, images(2, 32, 48, 3), padded(2, 32, 48))


def test_bottlenecks_other_sizes_and_an_answer_of_every_layer(tmp_path):
    backbone = {"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 1]}
    options = {"activation_function": "gelu", "encoder_layers": 1, "decoder_layers": 2, "auxiliary_loss": True}
    costs = {"class_cost": 2, "bbox_cost": 1, "giou_cost": 3, "bbox_loss_coefficient": 2, "giou_loss_coefficient": 7}
    config = config_of(backbone, **options, **costs, eos_coefficient=0.3)
    theirs = tiny(transformers.DetrForObjectDetection, config, tmp_path)
    compare(px.models.load(tmp_path), theirs, images(2, 40, 56, 3), padded(2, 40, 56), learn=False)


def test_answers_in_float32_and_without_a_mask(pair):
    theirs, ours = pair
    x = images(2, 32, 48, 3, seed=1)
    with torch.no_grad():
        want = theirs(first(x), output_hidden_states=True)
        earlier = theirs.model.decoder.layernorm(want.decoder_hidden_states[1])
        earlier = theirs.class_labels_classifier(earlier), theirs.bbox_predictor(earlier).sigmoid()
    output = px.jit(lambda model, x: model(x, auxiliary=True))(ours, x)
    agrees(output.logits, want.logits, "scores", 1e-5)
    agrees(output.boxes, want.pred_boxes, "boxes", 1e-5)
    (auxiliary,) = output.auxiliary
    agrees(auxiliary.logits, earlier[0], "scores of the first layer", 1e-5)
    agrees(auxiliary.boxes, earlier[1], "boxes of the first layer", 1e-5)


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours = pair
    again = there_again(ours, transformers.DetrForObjectDetection, tmp_path)
    x = first(images(2, 32, 48, 3))
    assert (again(x).logits == theirs(x).logits).all()


def test_files_over_a_backbone_of_timm(pair, tmp_path):
    """As the hub's own DETRs are: the backbone goes by its name, and its weights by timm's names."""
    _, ours = pair
    arrays = family_of(ours.config, "").names_of("timm_backbone", ours.config).to_theirs(ours)
    trunk = {name for name in arrays if name.startswith("model.backbone.conv_encoder.model.")}
    assert trunk == {"model.backbone.conv_encoder.model." + name for name in TIMM.to_theirs(ours.backbone)}
    entries = {"model_type": "detr", "backbone": "resnet101", "use_timm_backbone": True, "backbone_config": None}
    assert px.models.DetrConfig.from_dict({**entries, "num_labels": 91}) == px.models.DetrConfig(
        backbone_config=variant("resnet101", "").with_classes(0)
    )
    nested = {"model_type": "timm_backbone", "backbone": "resnet50", "out_indices": [1, 2, 3, 4]}
    assert px.models.DetrConfig.from_dict({"backbone_config": nested, "num_labels": 91}) == px.models.DetrConfig()
    px.models.save(ours, tmp_path, names="timm_backbone")
    again = family_of(ours.config, "").names_of("timm_backbone", ours.config).to_theirs(px.models.load(tmp_path))
    assert all((again[name] == array).all() for name, array in arrays.items())


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"backbone": "convnext_tiny"}, "a backbone among resnet18"),
        ({"backbone_config": {"model_type": "swin"}}, "a backbone_config of a resnet"),
        (
            {"backbone_config": {"model_type": "resnet", "out_features": ["stage3"]}},
            "out_features that end with stage4",
        ),
        ({"backbone": ["resnet50"]}, "a backbone among resnet18"),
        ({"backbone_config": "resnet50"}, "a backbone_config of a resnet"),
        ({"backbone_config": {"model_type": "timm_backbone", "output_stride": 16}}, "output_stride = 32, got 16"),
        ({"backbone_kwargs": {"output_stride": 16}}, "output_stride = 32, got 16"),
        ({"backbone_kwargs": {"act_layer": "gelu"}}, "backbone_kwargs of features_only"),
        ({"backbone_kwargs": "output_stride"}, "backbone_kwargs of features_only"),
        ({"backbone_kwargs": {"out_indices": [1, 2, 3]}}, "out_indices that end with 4, got [1, 2, 3]"),
        ({"backbone_config": {"model_type": "resnet", "out_indices": [3]}}, "out_indices that end with 4, got [3]"),
        ({"backbone_config": {"model_type": "resnet", "out_features": 4}}, "out_features that end with stage4, got 4"),
        ({"dilation": True}, "dilation = False, got True"),
        ({"position_embedding_type": "learned"}, "position_embedding_type = 'sine', got 'learned'"),
    ],
)
def test_what_is_not_there_is_refused(entries, text):
    with pytest.raises(px.RangeError) as caught:
        px.models.DetrConfig.from_dict(entries)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "entries",
    [
        {"num_channels": 1},
        {"backbone_kwargs": {"in_chans": 1, "out_indices": [1, 2, 3, 4], "output_stride": 32}, "num_channels": 3},
        {"backbone_config": {"model_type": "timm_backbone", "num_channels": 1, "out_indices": [-1]}},
        {"backbone_config": {"model_type": "resnet", "num_channels": 1, "out_indices": [4]}, "num_channels": 3},
    ],
)
def test_channels_of_the_backbone_s_images(entries):
    config = px.models.DetrConfig.from_dict(entries)
    assert config.backbone_config == px.models.ResNetConfig(num_channels=1, classes=0)


def test_a_backbone_that_is_no_config_is_refused():
    with pytest.raises(px.OptionError, match="a ResNetConfig, got 'resnet50'"):
        px.models.DetrConfig(backbone_config="resnet50")
    with pytest.raises(px.OptionError, match="num_channels as int"):
        px.models.DetrConfig.from_dict({"num_channels": "3"})


@pytest.mark.parametrize(("name", "backbone"), [("detr_resnet50", (3, 4, 6, 3)), ("detr_resnet101", (3, 4, 23, 3))])
def test_published_sizes(name, backbone):
    there = transformers.ResNetConfig(depths=list(backbone), out_features=["stage4"])
    with torch.device("meta"):
        config = transformers.DetrConfig(use_timm_backbone=False, backbone_config=there, num_labels=91)
        theirs = transformers.DetrForObjectDetection(config)
    made = px.eval_shape(lambda: px.models.create(name))
    covered(made)
    want = sum(x.numel() for x in [*theirs.parameters(), *theirs.buffers()])
    assert sum(x.size for x in px.paths(made).values() if jnp.issubdtype(x.dtype, jnp.floating)) == want


def test_the_backbone_learns_where_it_did_in_training(pair):
    _, ours = pair
    grads = px.eval_shape(lambda model, x: px.grad(lambda m: m(x).logits.sum())(model), ours, images(2, 32, 32, 3))
    learning = {path for path in px.paths(grads) if path.startswith("backbone")}
    assert learning == {f"backbone.stages.1.0.{name}.conv.weight" for name in ("layers.0", "layers.1", "shortcut")}


@pytest.mark.parametrize("rate", ["dropout", "attention_dropout", "activation_dropout"])
def test_each_dropout_stands_in_training_where_the_hub_has_it(tmp_path, rate):
    """At a rate of one nothing is left to chance: all that a dropout stands behind is gone."""
    backbone = {"embedding_size": 4, "hidden_sizes": [4], "depths": [1], "layer_type": "basic"}
    few = {"encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0, rate: 1.0}
    theirs = tiny(transformers.DetrForObjectDetection, config_of(backbone, **few), tmp_path)
    theirs.set_attn_implementation("eager")
    ours, (x, places) = px.models.load(tmp_path), images(2, 2, 6, 16)
    encode, decode = theirs.model.encoder.layers[0], theirs.model.decoder.layers[0]
    there = [torch.tensor(a) for a in (x, places)]

    @px.jit
    def run(encode, decode, x, places):
        mask = jnp.ones((2, 1, 1, 6), bool)
        return encode(x, places, mask), decode(x, places, x, places, mask)

    with torch.no_grad():
        still = encode(there[0], None, there[1]), decode(there[0], None, there[1], there[1], there[0])
        encode.train(), decode.train()
        want = encode(there[0], None, there[1]), decode(there[0], None, there[1], there[1], there[0])
    layers: tuple[EncoderLayer, DecoderLayer] = ours.encoder[0], ours.decoder.layers[0]
    found = run(*map(px.trainmode, layers), x, places)
    for a, b, c in zip(found, want, still, strict=True):
        assert (b - c).abs().max() > 1e-2
        agrees(a, b, rate, 1e-5)


def scores_and_boxes(batch, queries, classes, seed=0, layers=1):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(layers, batch, queries, classes + 1))
    return logits, rng.uniform(0.1, 0.6, (layers, batch, queries, 4))


def test_parts_of_the_loss_and_their_gradients():
    """Of pictures without objects too, and of more objects than there are queries."""
    counts, classes, config = (2, 0, 7), 3, px.models.DetrConfig(classes=3, decoder_layers=2)
    with doubles():
        logits, boxes = scores_and_boxes(len(counts), 4, classes, layers=2)
        targets, named = objects(counts, classes, most=9)

        def total(logits, boxes, targets):
            outputs = [px.models.DetrOutput(*pair) for pair in zip(logits, boxes, strict=True)]
            output = outputs[1]._replace(auxiliary=(outputs[0],))
            parts = px.models.detr_losses(output, targets, config=config)
            return px.models.detr_loss(output, targets, config=config), parts

        (loss, parts), grads = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(logits, boxes, targets)
        there = [torch.tensor(x, requires_grad=True) for x in (logits, boxes)]
        settings = transformers.DetrConfig(num_labels=classes, auxiliary_loss=True, decoder_layers=2)
        want, named_parts, _ = hub_loss.ForObjectDetectionLoss(
            there[0][1], named, "cpu", there[1][1], settings, there[0], there[1]
        )
        want.backward()
    agrees(loss, want.item(), "loss", 1e-10)
    assert set(parts) == set(named_parts)
    for name, part in parts.items():
        agrees(part, named_parts[name].item(), name, 1e-7 if "cardinality" in name else 1e-10)  # which is float32
    agrees(grads[0], there[0].grad, "gradient of scores", 1e-10)
    agrees(grads[1], there[1].grad, "gradient of boxes", 1e-10)


@pytest.mark.parametrize("ties", [False, True], ids=["all costs differ", "ties"])
def test_the_matching_is_the_cheapest_of_all(ties):
    """A hundred pictures of up to seven objects and nine queries, against SciPy."""
    rng = np.random.default_rng(1)
    logits, boxes = (x[0] for x in scores_and_boxes(100, 9, 4))
    targets, _ = objects(rng.integers(0, 8, 100).tolist(), 4, most=7)
    labels = np.take_along_axis(targets["labels"], order := rng.permuted(np.tile(np.arange(7), (100, 1)), axis=1), 1)
    theirs = np.take_along_axis(targets["boxes"], order[..., None], 1)  # padding stands between objects
    if ties:
        logits, boxes, theirs = logits * 0, np.round(boxes * 4) / 4 + 0.25, np.round(theirs * 4) / 4 + 0.25
    boxes[:20, :4] = np.nan  # of the queries five are left, for up to seven objects
    config = px.models.DetrConfig(classes=4, giou_cost=0 if ties else 2)
    with in_dtype("float64"):
        found = np.asarray(jax.jit(lambda *xs: match(px.models.DetrOutput(*xs[:2]), *xs[2:], config))(
            logits, boxes, labels, theirs
        ))  # fmt: skip
    assert ((found < 0) == (labels < 0)).all()
    for i in range(100):
        real = labels[i] >= 0
        costs = _costs(logits[i], boxes[i], labels[i][real], theirs[i][real], config)
        rows, columns = linear_sum_assignment(costs)
        mine = found[i][real]
        assert len(set(mine.tolist())) == len(mine)
        np.testing.assert_allclose(costs[np.arange(len(mine)), mine].sum(), costs[rows, columns].sum(), atol=1e-9)
        assert ties or (mine == columns)[costs[rows, columns] < 1e3].all()


def _costs(logits, boxes, labels, theirs, config):
    """In PyTorch, by the hub's own functions: (objects, queries)."""
    lost = np.isnan(boxes).any(1)
    logits, boxes, theirs = (torch.tensor(x) for x in (logits, np.where(lost[:, None], 0.5, boxes), theirs))
    corners = hub_loss.center_to_corners_format
    overlap = hub_loss.generalized_box_iou(corners(theirs), corners(boxes)) if len(labels) else torch.zeros(0, 9)
    distance = torch.cdist(theirs, boxes, p=1)
    chances = logits.softmax(-1)[:, labels].T
    costs = config.bbox_cost * distance - config.class_cost * chances - config.giou_cost * overlap
    return np.where(lost, 1e3, costs.numpy())


def test_answers_become_boxes_as_the_hub_s():
    processor = transformers.models.detr.image_processing_pil_detr.DetrImageProcessorPil()
    logits, boxes = (x[0].astype(np.float32) for x in scores_and_boxes(2, 6, 3))
    sizes = np.array([[480, 640], [30, 20]])
    output = transformers.models.detr.modeling_detr.DetrObjectDetectionOutput(
        logits=torch.tensor(logits), pred_boxes=torch.tensor(boxes)
    )
    want = processor.post_process_object_detection(output, threshold=0.4, target_sizes=torch.tensor(sizes))
    found = jax.jit(lambda *xs: px.models.detections(px.models.DetrOutput(*xs[:2]), xs[2], threshold=0.4))(
        logits, boxes, sizes
    )
    for i, picture in enumerate(want):
        kept = np.asarray(found["labels"][i]) >= 0
        assert 0 < len(picture["labels"]) < 6
        assert found["labels"][i][kept].tolist() == picture["labels"].tolist()
        agrees(found["scores"][i][kept], picture["scores"], "scores", 1e-6)
        agrees(found["boxes"][i][kept], picture["boxes"], "boxes", 1e-6)


def test_targets_masks_and_sizes_that_do_not_fit_are_refused(pair):
    output = px.models.DetrOutput(jnp.zeros((2, 3, 5)), jnp.full((2, 3, 4), 0.5))
    with pytest.raises(px.StructureError, match="targets with labels and boxes"):
        px.models.detr_loss(output, {"class_labels": jnp.zeros((2, 1))})
    with pytest.raises(px.ShapeError, match=r"labels \(2, objects\) and boxes \(2, objects, 4\), got int.*\[1, 3\]"):
        px.models.detr_loss(output, {"labels": np.zeros((1, 3), np.int32), "boxes": np.zeros((1, 3, 4))})
    boxes = np.full((2, 1, 4), 0.5)
    for label in (-2, 4):
        with pytest.raises(
            px.RangeError, match=rf"labels from -1 to 3, got labels from {min(label, 0)} to {max(label, 0)}"
        ):
            px.models.detr_loss(output, {"labels": np.array([[0], [label]]), "boxes": boxes})
    with pytest.raises(px.DtypeError, match=r"labels of integers, got float32\[2, 1\]"):
        px.models.detr_loss(output, {"labels": np.zeros((2, 1), "float32"), "boxes": boxes})
    with pytest.raises(px.StructureError, match=r"a DetrOutput, got float32\[2, 3, 8\]"):
        px.models.detr_loss(np.zeros((2, 3, 8), "float32"), {"labels": np.zeros((2, 1), int), "boxes": boxes})
    with pytest.raises(px.StructureError, match="detections expects a DetrOutput"):
        px.models.detections((output.logits, output.boxes))
    with pytest.raises(px.ShapeError, match=r"sizes \(2, 2\)"):
        px.models.detections(output, np.ones(2))
    with pytest.raises(px.ShapeError, match=r"a mask of shape \(2, 32, 32\), got"):
        px.jit(lambda model, x, mask: model(x, mask))(pair[1], images(2, 32, 32, 3), np.ones((2, 32, 30)))
