"""Every method of Captum, on models with the same weights, in float64."""

import captum.attr as ca
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule
from captum.concept import TCAV, Classifier, Concept
from captum.influence import TracInCP
from captum.influence._core.influence_function import NaiveInfluenceFunction
from captum.metrics import infidelity, sensitivity_max
from torch import nn

import phlox as px
from areas.interpret.twins import TOKENS, Flattened, back, cnn, image, linear, lstm, mlp, rows, tensor, transformer

I = px.interpret  # noqa: E741
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (
        "Input Tensor",
        "Setting forward, backward hooks",
        "Setting backward hooks",
        "You are providing multiple inputs",
    )
]
TARGET = [0, 2, 1, 2]
X, BASE, DATA = rows(4, 4), rows(4, 4, seed=1), rows(7, 4, seed=2)
IMAGES, GRAY = rows(2, 8, 8, 3), rows(2, 8, 8, 3, seed=1)


def close(ours, theirs, tolerance=1e-7):
    values = ours.values if isinstance(ours, I.Attribution) else ours
    np.testing.assert_allclose(np.asarray(values), back(theirs), rtol=tolerance, atol=tolerance)


def on_rows(act="relu"):
    ours, theirs = mlp(act)
    return ours, theirs, X, tensor(X), TARGET, torch.tensor(TARGET), BASE, tensor(BASE)


def on_images(_="relu"):
    ours, theirs = cnn()
    return ours, theirs, IMAGES, image(IMAGES), [1, 3], torch.tensor([1, 3]), GRAY, image(GRAY)


MODELS = pytest.mark.parametrize("case", [on_rows, on_images], ids=["mlp", "cnn"])


@MODELS
def test_gradients(case):
    ours, theirs, x, t, target, classes, *_ = case()
    close(I.saliency(ours, x, target=target), ca.Saliency(theirs).attribute(t.requires_grad_(), target=classes))
    close(I.input_x_gradient(ours, x, target=target), ca.InputXGradient(theirs).attribute(t, target=classes))


@MODELS
@pytest.mark.parametrize(
    ("rule", "name"),
    [("gauss_legendre", "gausslegendre"), ("trapezoid", "riemann_trapezoid"), ("left", "riemann_left"),
     ("right", "riemann_right"), ("middle", "riemann_middle")],
)  # fmt: skip
def test_integrated_gradients(case, rule, name):
    ours, theirs, x, t, target, classes, base, b = case()
    found = I.integrated_gradients(ours, x, target=target, baselines=base, steps=16, rule=rule)
    wanted, delta = ca.IntegratedGradients(theirs).attribute(
        t, b, target=classes, n_steps=16, method=name, return_convergence_delta=True
    )
    if rule == "trapezoid":  # their weights sum to 15/16
        return close(found.values * 15 / 16, wanted)
    close(found, wanted)
    close(found.delta, delta)


@pytest.mark.parametrize("model", [lstm, transformer])
def test_tokens_by_their_embedding(model):
    ours, theirs = model()
    target, base = [0, 1, 1], jnp.zeros_like(TOKENS)
    found = I.integrated_gradients(ours, TOKENS, target=target, baselines=base, steps=16, layer="layers.0")
    method = ca.LayerIntegratedGradients(theirs, theirs.embedding)
    close(found, method.attribute(tensor(TOKENS), tensor(base), target=torch.tensor(target), n_steps=16))
    found = I.input_x_gradient(ours, TOKENS, target=target, layer="layers.0")
    close(
        found,
        ca.LayerGradientXActivation(theirs, theirs.embedding).attribute(tensor(TOKENS), target=torch.tensor(target)),
    )
    found = I.feature_ablation(ours, TOKENS, target=target, baselines=0)
    # of integers theirs is in float32
    close(found, ca.FeatureAblation(theirs).attribute(tensor(TOKENS), target=torch.tensor(target)), 2e-6)
    found = I.shapley_values(ours, TOKENS, target=target)
    close(found, ca.ShapleyValues(theirs).attribute(tensor(TOKENS), target=torch.tensor(target)), 2e-6)


@pytest.mark.parametrize("act", ["relu", "tanh", "sigmoid", "softplus", "elu"])
def test_deep_lift_of_activations(act):
    ours, theirs, x, t, target, classes, base, b = on_rows(act)
    wanted, delta = ca.DeepLift(theirs).attribute(t, b, target=classes, return_convergence_delta=True)
    found = I.deep_lift(ours, x, target=target, baselines=base)
    close(found, wanted)
    close(found.delta, delta)
    wanted = ca.DeepLiftShap(theirs).attribute(t, tensor(DATA), target=classes)
    close(I.deep_lift_shap(ours, x, target=target, baselines=DATA), wanted)


def test_deep_lift_of_convolutions_and_pools():
    ours, theirs, x, t, target, classes, base, b = on_images()
    _, delta = ca.DeepLift(theirs).attribute(t, b, target=classes, return_convergence_delta=True)
    assert delta.abs().max() > 0.1  # where a maximum is moved theirs does not account for all
    np.testing.assert_allclose(I.deep_lift(ours, x, target=target, baselines=base).delta, 0, atol=1e-12)
    ours, theirs = cnn(px.MeanPool((2, 2)), nn.AvgPool2d(2))
    close(I.deep_lift(ours, x, target=target, baselines=base), ca.DeepLift(theirs).attribute(t, b, target=classes))
    wanted = ca.DeepLiftShap(theirs).attribute(t, image(rows(5, 8, 8, 3, seed=4)), target=classes)
    close(I.deep_lift_shap(ours, x, target=target, baselines=rows(5, 8, 8, 3, seed=4)), wanted)


@MODELS
def test_gradients_that_rectifiers_change(case):
    ours, theirs, x, t, target, classes, *_ = case()
    close(I.guided_backprop(ours, x, target=target), ca.GuidedBackprop(theirs).attribute(t, target=classes))
    close(I.deconvolution(ours, x, target=target), ca.Deconvolution(theirs).attribute(t, target=classes))


RULES = [
    (I.Epsilon(), EpsilonRule),
    (I.Epsilon(0.1), lambda: EpsilonRule(epsilon=0.1)),
    (I.Gamma(0.3), lambda: GammaRule(gamma=0.3)),
    (I.AlphaBeta(), Alpha1_Beta0_Rule),
]


@MODELS
@pytest.mark.parametrize(("rule", "theirs_of"), RULES, ids=[repr(rule) for rule, _ in RULES])
def test_relevance(case, rule, theirs_of):
    """Captum's α = 1 takes positive inputs to be given, and keeps negative biases, of which ours are no gain."""
    ours, theirs, x, t, target, classes, *_ = case()
    if isinstance(rule, I.AlphaBeta):
        x, t = jnp.abs(x), t.abs()
        ours, theirs = mlp(bias=False) if case is on_rows else (ours, theirs)
    for part in theirs:
        if isinstance(part, nn.Linear | nn.Conv2d):
            part.rule = theirs_of()
        elif isinstance(part, Flattened):
            part.rule = EpsilonRule()
    with torch.no_grad():
        wanted = [p.clone() for p in theirs.parameters()]
    found = I.lrp(ours, x, target=target, rules=rule)
    attributed, delta = ca.LRP(theirs).attribute(t, target=classes, return_convergence_delta=True)
    assert all(torch.equal(a, b) for a, b in zip(wanted, theirs.parameters(), strict=True))
    close(found, attributed, 1e-7)  # each of their rules adds 1e-9 to what it divides by
    close(found.delta, -delta, 1e-6)


def test_class_activation_maps():
    ours, theirs, x, t, target, classes, *_ = on_images()
    for relu in (False, True):
        found = I.grad_cam(ours, x, target=target, layer="layers.3", relu=relu, size="layer")
        close(found, ca.LayerGradCam(theirs, theirs[3]).attribute(t, target=classes, relu_attributions=relu))


def test_guided_grad_cam_is_the_product():
    ours, theirs, x, t, target, classes, *_ = on_images()
    guided = I.guided_backprop(ours, x, target=target).values
    cam = I.grad_cam(ours, x, target=target, layer="layers.3", size="layer").values
    wanted = ca.GuidedGradCam(theirs, theirs[3]).attribute(t, target=classes)  # resizes to the nearest
    close(guided * jnp.repeat(jnp.repeat(cam, 2, 1), 2, 2), wanted)


def test_perturbations():
    ours, theirs, x, t, target, classes, base, b = on_rows()
    close(
        I.feature_ablation(ours, x, target=target, baselines=base),
        ca.FeatureAblation(theirs).attribute(t, b, target=classes),
    )
    mask = np.array([0, 1, 0, 2])
    found = I.feature_ablation(ours, x, target=target, feature_mask=mask)
    close(found, ca.FeatureAblation(theirs).attribute(t, target=classes, feature_mask=torch.tensor(mask)))
    found = I.shapley_values(ours, x, target=target, baselines=base, feature_mask=mask)
    close(found, ca.ShapleyValues(theirs).attribute(t, b, target=classes, feature_mask=torch.tensor(mask)))
    order = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(3))).tolist()).permutation(len(x))
    found = I.feature_permutation(ours, x, target=target, key=3)
    theirs_by = ca.FeaturePermutation(theirs, perm_func=lambda v, mask: torch.where(mask.bool(), v[order], v))
    close(found, theirs_by.attribute(t, target=classes))


@pytest.mark.parametrize(("window", "stride"), [((3, 3, 3), (2, 2, 3)), ((4, 2, 1), (4, 2, 1)), ((5, 3, 2), (2, 3, 1))])
def test_occlusion(window, stride):
    ours, theirs, x, t, target, classes, base, b = on_images()
    found = I.occlusion(ours, x, target=target, baselines=base, window=window, stride=stride)
    sizes, steps = (window[2], *window[:2]), (stride[2], *stride[:2])
    close(found, ca.Occlusion(theirs).attribute(t, sizes, steps, b, target=classes))


def within(found, wanted, errors, what):
    """Two means of draws agree within five standard errors of their difference."""
    far = np.abs(np.asarray(found) - back(wanted)) / np.maximum(np.asarray(errors), 1e-12)
    assert far.max() < 5, f"{what}: {far.max()} standard errors"


def test_sampled_shapley_values():
    """Theirs come from single orders: an error is no smaller than of our pairs."""
    ours, theirs, x, t, target, classes, base, b = on_rows()
    found = I.shapley_sampling(ours, x, target=target, baselines=base, samples=200, key=0)
    torch.manual_seed(0)
    wanted = ca.ShapleyValueSampling(theirs).attribute(t, b, target=classes, n_samples=800)
    exact = ca.ShapleyValues(theirs).attribute(t, b, target=classes)
    within(found.values, exact, found.errors, "ours")
    assert np.abs(np.asarray(found.values) - back(exact)).mean() < np.abs(back(wanted) - back(exact)).mean()


def test_kernel_shap_of_all_coalitions_is_exact_and_theirs_goes_there():
    ours, theirs, x, t, target, classes, base, b = on_rows()
    found = I.kernel_shap(ours, x, target=target, baselines=base)
    close(found, ca.ShapleyValues(theirs).attribute(t, b, target=classes))
    torch.manual_seed(0)
    wanted = ca.KernelShap(theirs).attribute(t, b, target=classes, n_samples=4000)
    np.testing.assert_allclose(np.asarray(found.values), back(wanted), atol=0.03)


def test_lime_with_the_same_draws():
    """Theirs draws in torch, one row at a time: what it drew is heard, and given to ours."""
    ours, theirs, x, t, *_ = on_rows()
    drawn = []

    class Heard(ca.LimeBase):
        pass

    lime = ca.Lime(theirs)
    inner = lime.perturb_func

    def perturb(*args, **kwargs):
        drawn.append(inner(*args, **kwargs))
        return drawn[-1]

    lime.perturb_func = perturb
    torch.manual_seed(0)
    wanted = lime.attribute(t[:1], tensor(BASE)[:1], target=2, n_samples=300)
    coalitions = torch.cat(drawn).bool().numpy()
    found = I.lime(ours, x[:1], target=2, baselines=BASE[:1], coalitions=coalitions)
    np.testing.assert_allclose(np.asarray(found.values), back(wanted), rtol=1e-3, atol=1e-3)  # scikit-learn stops there


def test_noise():
    ours, theirs, x, t, target, classes, *_ = on_rows("tanh")
    for kind, method in (("smoothgrad", I.smooth_grad), ("vargrad", I.var_grad)):
        found = [method(ours, x, target=target, noise=0.3, samples=2000, key=key) for key in (0, 1)]
        torch.manual_seed(0)
        tunnel = ca.NoiseTunnel(ca.Saliency(theirs))
        wanted = tunnel.attribute(t, nt_type=kind, nt_samples=4000, stdevs=0.3, target=classes, abs=False)
        spread = np.abs(np.asarray(found[0].values - found[1].values)).max()
        np.testing.assert_allclose(np.asarray(found[0].values), back(wanted), atol=4 * spread)
    found = I.smooth_grad(ours, x, target=target, noise=0.3, samples=2000, key=0)
    torch.manual_seed(0)
    wanted = tunnel.attribute(t, nt_type="smoothgrad", nt_samples=2000, stdevs=0.3, target=classes, abs=False)
    within(found.values, wanted, np.sqrt(2) * np.asarray(found.errors), "smooth_grad")


def test_expected_gradients():
    ours, theirs, x, t, target, classes, *_ = on_rows("tanh")
    found = I.expected_gradients(ours, x, target=target, baselines=DATA, samples=4000, key=0)
    torch.manual_seed(0)
    np.random.seed(0)
    wanted = ca.GradientShap(theirs).attribute(t, tensor(DATA), target=classes, n_samples=4000)
    within(found.values, wanted, np.sqrt(2) * np.asarray(found.errors), "expected_gradients")


def test_layers():
    ours, theirs, x, t, target, classes, base, b = on_rows("tanh")
    layer, part = "layers.2", theirs[2]
    close(px.capture(ours, x, only=layer)[layer], ca.LayerActivation(theirs, part).attribute(t))
    found = I.input_x_gradient(ours, x, target=target, layer=layer)
    close(found, ca.LayerGradientXActivation(theirs, part).attribute(t, target=classes))
    found = I.integrated_gradients(ours, x, target=target, baselines=base, steps=16, layer=layer)
    close(found, ca.LayerIntegratedGradients(theirs, part).attribute(t, b, target=classes, n_steps=16))
    found = I.internal_influence(ours, x, target=target, baselines=base, steps=16, layer=layer)
    close(found, ca.InternalInfluence(theirs, part).attribute(t, b, target=classes, n_steps=16))
    found = I.deep_lift(ours, x, target=target, baselines=base, layer=layer)
    close(found, ca.LayerDeepLift(theirs, part).attribute(t, b, target=classes))
    found = I.deep_lift_shap(ours, x, target=target, baselines=DATA, layer=layer)
    close(found, ca.LayerDeepLiftShap(theirs, part).attribute(t, tensor(DATA), target=classes))
    found = I.feature_ablation(ours, x, target=target, layer=layer)
    close(found, ca.LayerFeatureAblation(theirs, part).attribute(t, target=classes))
    found = I.conductance(ours, x, target=target, baselines=base, steps=200, layer=layer)
    wanted = ca.LayerConductance(theirs, part).attribute(t, b, target=classes, n_steps=1000)
    close(found, wanted, 5e-3)  # theirs takes differences between points, an error of the order of a step
    ours, theirs, x, t, target, classes, *_ = on_rows("relu")
    close(I.lrp(ours, x, target=target, layer=layer), ca.LayerLRP(theirs, theirs[2]).attribute(t, target=classes), 1e-7)


def test_neurons():
    ours, theirs, x, t, target, classes, base, b = on_rows("tanh")
    layer, part, neuron = "layers.2", theirs[2], 4
    found = I.saliency(ours, x, layer=layer, neuron=neuron, absolute=False)
    close(found, ca.NeuronGradient(theirs, part).attribute(t, neuron))
    found = I.integrated_gradients(ours, x, layer=layer, neuron=neuron, baselines=base, steps=16)
    close(found, ca.NeuronIntegratedGradients(theirs, part).attribute(t, neuron, b, n_steps=16))
    found = I.deep_lift(ours, x, layer=layer, neuron=neuron, baselines=base)
    close(found, ca.NeuronDeepLift(theirs, part).attribute(t, neuron, b))
    found = I.deep_lift_shap(ours, x, layer=layer, neuron=neuron, baselines=DATA)
    close(found, ca.NeuronDeepLiftShap(theirs, part).attribute(t, neuron, tensor(DATA)))
    found = I.feature_ablation(ours, x, layer=layer, neuron=neuron, baselines=base)
    close(found, ca.NeuronFeatureAblation(theirs, part).attribute(t, neuron, b))
    found = I.conductance(ours, x, target=target, layer=layer, neuron=neuron, baselines=base, steps=16)
    close(found, ca.NeuronConductance(theirs, part).attribute(
        t, neuron, b, target=classes, n_steps=16, method="gausslegendre"
    ))  # fmt: skip
    found = I.expected_gradients(ours, x, layer=layer, neuron=neuron, baselines=DATA, samples=4000, key=0)
    torch.manual_seed(0)
    np.random.seed(0)
    wanted = ca.NeuronGradientShap(theirs, part).attribute(t, neuron, tensor(DATA), n_samples=4000)
    within(found.values, wanted, np.sqrt(2) * np.asarray(found.errors), "neuron")
    ours, theirs, x, t, *_ = on_rows("relu")
    found = I.guided_backprop(ours, x, layer=layer, neuron=neuron)
    close(found, ca.NeuronGuidedBackprop(theirs, theirs[2]).attribute(t, neuron))
    found = I.deconvolution(ours, x, layer=layer, neuron=neuron)
    close(found, ca.NeuronDeconvolution(theirs, theirs[2]).attribute(t, neuron))


def test_measures_with_the_same_draws():
    ours, theirs, x, t, target, classes, *_ = on_rows("tanh")
    found = I.saliency(ours, x, target=target, absolute=False)
    drawn = iter(0.1 * np.random.default_rng(0).standard_normal((5, *x.shape)))
    heard = []

    def perturb(_, x):
        heard.append(jnp.asarray(next(drawn)))
        return heard[-1], x - heard[-1]

    for normalize in (False, True):
        drawn = iter(0.1 * np.random.default_rng(0).standard_normal((5, *x.shape)))
        heard.clear()
        said = I.infidelity(ours, x, found, target=target, perturb=perturb, samples=5, normalize=normalize)

        def theirs_perturb(inputs, again=iter(heard[:])):  # noqa: B008
            moved = tensor(next(again))
            return moved, inputs - moved

        wanted = infidelity(
            theirs, theirs_perturb, t, tensor(found.values), target=classes, n_perturb_samples=5,
            max_examples_per_batch=len(x), normalize=normalize,
        )  # fmt: skip
        close(said, wanted)
    explain = lambda x: I.saliency(ours, x, target=target)  # noqa: E731
    moved = iter(
        np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(5))).tolist()).uniform(
            -0.02, 0.02, (10, *x.shape)
        )
    )
    said = I.sensitivity(explain, x, key=5)
    wanted = sensitivity_max(
        lambda v, target: ca.Saliency(theirs).attribute(v, target=target), t, lambda v: v + tensor(next(moved)),
        n_perturb_samples=10, max_examples_per_batch=len(x), target=classes,
    )  # fmt: skip
    close(said, wanted)


def test_tracin(tmp_path):
    ours, theirs = mlp("tanh")
    target = np.array([0, 2, 1, 0, 1, 2, 2])
    loss = lambda model, x, y: px.losses.cross_entropy(model(x), y)  # noqa: E731
    found = I.tracin(ours, loss, (DATA, target), (X, np.array(TARGET)), learning_rates=1.0)
    torch.save(theirs.state_dict(), tmp_path / "one.pt")

    def load(model, path):
        model.load_state_dict(torch.load(path))
        return 1.0

    data = torch.utils.data.TensorDataset(tensor(DATA), torch.tensor(target))
    tracin = TracInCP(
        theirs, data, [str(tmp_path / "one.pt")], checkpoints_load_func=load, batch_size=7,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"), sample_wise_grads_per_batch=True,
    )  # fmt: skip
    close(found, tracin.influence((tensor(X), torch.tensor(TARGET))), 1e-8)


def test_influence():
    """Theirs adds the curvature of all examples up, so that its damping is that of ours times their number."""
    ours = px.f64(px.Chain(px.Dense(4, 3, key=0)))
    target, classes = np.array([0, 2, 1, 0, 1, 2, 2]), torch.tensor(TARGET)
    loss = lambda model, x, y: px.losses.cross_entropy(model(x), y)  # noqa: E731
    found = I.influence(ours, loss, (DATA, target), (X, np.array(TARGET)), damping=0.01, tolerance=1e-12)
    theirs = NaiveInfluenceFunction(
        nn.Sequential(linear(ours[0])), torch.utils.data.TensorDataset(tensor(DATA), torch.tensor(target)), "",
        checkpoints_load_func=lambda *_: 1.0, batch_size=7, projection_dim=15, hessian_reg=0.07,
        hessian_inverse_tol=0.0, loss_fn=nn.CrossEntropyLoss(reduction="sum"), sample_wise_grads_per_batch=True,
    )  # fmt: skip
    close(found, theirs.influence((tensor(X), classes)))


class AtHand(Classifier):
    """A classifier with a direction that is given."""

    def __init__(self, direction):
        self.direction = torch.tensor(direction)

    def train_and_eval(self, dataloader, **kwargs):
        return {"accs": torch.ones(())}

    def weights(self):
        return torch.stack([self.direction, -self.direction])

    def classes(self):
        return [0, 1]


def test_concepts(tmp_path):
    """The direction is ours, a regression of its own in each; the shares of rows that it raises are compared."""
    ours, theirs = mlp("tanh")
    many, striped, noise = rows(40, 4), rows(12, 4, seed=3) + 1, rows(12, 4, seed=4)
    target = [i % 3 for i in range(40)]
    found = I.tcav(ours, many, {"striped": striped}, noise, layer="layers.2", target=target)
    sets = [
        [Concept(n, name, torch.utils.data.DataLoader(tensor(x))) for n, (name, x) in enumerate(both)]
        for both in [(("striped", striped), ("noise", noise))]
    ]
    method = TCAV(theirs, ["2"], classifier=AtHand(found.directions["striped"][0]), save_path=str(tmp_path))
    torch.set_default_dtype(torch.float32)  # in which it compares, whatever the model computes in
    scores = method.interpret(tensor(many), sets, target=torch.tensor(target))["0-1"]["2"]["sign_count"]
    assert 0 < found.scores["striped"][0] < 1
    close(found.scores["striped"], scores[:1])
