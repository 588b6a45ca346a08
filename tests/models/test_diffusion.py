"""Schedules, losses and samplers: against diffusers step by step, and against Gaussians, whose denoiser is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox.models import diffusion
from phlox.models.diffusion import NoiseSchedule

torch = oracle("torch")
diffusers = oracle("diffusers")
THEIRS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2", "sigmoid": "sigmoid"}
PREDICTIONS = {"epsilon": "epsilon", "sample": "sample", "v": "v_prediction"}


# --- schedules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("kind", THEIRS)
def test_schedules(kind, zero):
    theirs = diffusers.DDPMScheduler(100, beta_schedule=THEIRS[kind], rescale_betas_zero_snr=zero)
    ours = NoiseSchedule(kind, steps=100, zero_terminal_snr=zero)
    np.testing.assert_allclose(ours.alpha_bars, theirs.alphas_cumprod, rtol=2e-5, atol=1e-7)  # theirs is float32
    np.testing.assert_allclose(ours.betas, theirs.betas, rtol=2e-5, atol=2e-6)
    assert (ours.alpha_bars[-1] == 0) == zero


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [7, 10, 100])
def test_spacings(spacing, steps):
    theirs = diffusers.DDIMScheduler(100, timestep_spacing=spacing)
    theirs.set_timesteps(steps)
    assert NoiseSchedule(steps=100).timesteps(steps, spacing).tolist() == theirs.timesteps.tolist()


def test_noise_and_velocity():
    theirs, ours = diffusers.DDPMScheduler(100), NoiseSchedule(steps=100)
    x, noise = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    t = np.array([0, 40, 99])
    to = torch.tensor
    assert_close(jax.jit(ours.add_noise)(x, noise, t), theirs.add_noise(to(x), to(noise), to(t)), scale=3)
    assert_close(jax.jit(ours.velocity)(x, noise, t), theirs.get_velocity(to(x), to(noise), to(t)), scale=3)


# --- samplers against diffusers ----------------------------------------------------------------------


def model(x, t):
    """Any function of both will do, for as long as it is the same in NumPy, JAX and PyTorch."""
    return x * 0.5 + 0.1 * x**2 - (0 * x + t.reshape(-1, 1)) / 200


START = np.random.default_rng(1).normal(size=(2, 3))


def trajectory_of_theirs(scheduler, alpha_bars, steps, noises, **options):
    """x at each step, in float64."""
    if alpha_bars is not None:
        scheduler.alphas_cumprod = torch.tensor(alpha_bars)
    if steps is not None:
        scheduler.set_timesteps(steps)
    x, path = torch.tensor(START), []
    draws = iter(torch.tensor(noises))
    for t in scheduler.timesteps:
        times = torch.full((2,), float(t), dtype=torch.float64)
        module = __import__(scheduler.__module__, fromlist=["randn_tensor"])
        original, module.randn_tensor = getattr(module, "randn_tensor", None), lambda *a, **k: next(draws)
        x = scheduler.step(model(x, times), t, x, **options).prev_sample
        module.randn_tensor = original
        path.append(x.numpy())
    return np.stack(path)


def trajectory_of_ours(sampler, *args, **options):
    """x at each step: what the model saw, line by line, and the end."""
    seen = []

    def watched(x, t):
        seen.append(np.asarray(x))
        return model(x, t)

    end = sampler(watched, jnp.asarray(START), *args, **options)
    return np.stack([*seen[1:], end])


def draws(key, steps):
    return np.stack([np.asarray(jax.random.normal(k, START.shape, "float64")) for k in jax.random.split(key, steps)])


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("prediction", "variance", "clip", "spacing", "zero"),
    [
        ("epsilon", "small", None, "leading", False),
        ("v", "large", 0.8, "leading", True),
        ("sample", "small", None, "linspace", False),
    ],
)
def test_ddpm_step_by_step(float64, prediction, variance, clip, spacing, zero):
    schedule, key = NoiseSchedule("cosine", steps=20, zero_terminal_snr=zero), jax.random.key(0)
    theirs = diffusers.DDPMScheduler(
        20, prediction_type=PREDICTIONS[prediction], variance_type=f"fixed_{variance}", clip_sample=clip is not None,
        clip_sample_range=clip or 1.0, timestep_spacing=spacing,
    )  # fmt: skip
    theirs.one = torch.tensor(1.0, dtype=torch.float64)
    want = trajectory_of_theirs(theirs, schedule.alpha_bars, 5, draws(key, 5))
    options = {"prediction": prediction, "variance": variance, "clip": clip, "spacing": spacing}
    assert_close(trajectory_of_ours(diffusion.ddpm, schedule, key=key, steps=5, **options), want)


@pytest.mark.parametrize(
    ("prediction", "eta", "clip", "spacing", "zero"),
    [
        ("epsilon", 0.0, None, "leading", False),
        ("v", 0.9, None, "trailing", True),
        ("sample", 0.5, 0.8, "leading", False),
    ],
)
def test_ddim_step_by_step(float64, prediction, eta, clip, spacing, zero):
    schedule, key = NoiseSchedule("scaled_linear", steps=20, beta_end=0.3, zero_terminal_snr=zero), jax.random.key(0)
    theirs = diffusers.DDIMScheduler(
        20, prediction_type=PREDICTIONS[prediction], clip_sample=clip is not None, clip_sample_range=clip or 1.0,
        timestep_spacing=spacing,
    )  # fmt: skip
    theirs.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    more = {"eta": eta, "use_clipped_model_output": clip is not None}
    want = trajectory_of_theirs(theirs, schedule.alpha_bars, 5, draws(key, 5), **more)
    options = {"prediction": prediction, "eta": eta, "clip": clip, "spacing": spacing}
    assert_close(trajectory_of_ours(diffusion.ddim, schedule, key=key, steps=5, **options), want)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching_step_by_step(shift):
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(sigmas=np.linspace(1, 1 / 5, 5))
    global START
    before, START = START, START.astype("float32")
    want = trajectory_of_theirs(theirs, None, None, np.zeros((5, 1)))
    ours = trajectory_of_ours(diffusion.flow_matching, steps=5, shift=shift)
    START = before
    assert_close(ours, want.astype("float32"), scale=3)  # times are rounded there


def test_compiled_they_draw_the_same_numbers():
    schedule, key, x = NoiseSchedule(steps=20), jax.random.key(0), jnp.asarray(START, "float32")

    def both(x, key):
        noisy = diffusion.ddpm(model, x, schedule, key=key, steps=4)
        return noisy, diffusion.ddim(model, x, schedule, key=key, steps=4, eta=0.7)

    for compiled, eager in zip(px.jit(both)(x, key), both(x, key), strict=True):
        assert_close(compiled, eager)


# --- samplers against theorems -----------------------------------------------------------------------

MEAN = np.array([1.0, -0.5])
COV = np.array([[0.5, 0.3], [0.3, 0.4]])


def denoiser(schedule):
    """What the best network says of Gaussian data: E[noise | x_t], linear in x_t."""
    bars = jnp.asarray(schedule.alpha_bars)
    inverse = np.linalg.inv(
        schedule.alpha_bars[:, None, None] * COV + (1 - schedule.alpha_bars)[:, None, None] * np.eye(2)
    )

    def said(x, t):
        a = bars[t][:, None].astype(x.dtype)
        gap = x - jnp.sqrt(a) * MEAN.astype(x.dtype)
        return jnp.sqrt(1 - a) * jnp.einsum("bij,bj->bi", jnp.asarray(inverse, x.dtype)[t], gap)

    return said


def flow(x, t):
    """E[noise - data | x_t] of Gaussian data on the straight lines."""
    t = t[:, None] / 1000
    eye = jnp.eye(2, dtype=x.dtype)
    mixed = (1 - t[..., None]) ** 2 * COV + t[..., None] ** 2 * eye
    (a, b), (_, c) = mixed.transpose(1, 2, 0)
    gap = x - (1 - t) * MEAN
    gap = jnp.stack([c * gap[:, 0] - b * gap[:, 1], a * gap[:, 1] - b * gap[:, 0]], -1) / (a * c - b * b)[:, None]
    return t * gap - MEAN - (1 - t) * gap @ COV


def law(sampler):
    """Mean and covariance of what a sampler without draws makes of standard normal noise: it is affine in the noise."""
    at = sampler(jnp.concatenate([jnp.zeros((1, 2)), jnp.eye(2)]))
    moved = at[1:] - at[0]
    return np.asarray(at[0]), np.asarray(moved.T @ moved)


def error_of(sampler):
    mean, cov = law(jax.jit(sampler))
    return max(abs(mean - MEAN).max(), abs(cov - COV).max())


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("midpoint", 2)])
def test_a_flow_reaches_the_gaussian_at_its_order(float64, method, order):
    errors = [error_of(lambda x, n=n: diffusion.flow_matching(flow, x, steps=n, method=method)) for n in (20, 40)]
    assert errors[1] < 0.05
    assert np.log2(errors[0] / errors[1]) > order - 0.2  # the midpoint method gains one on these straight lines


def test_ddim_reaches_the_gaussian_as_steps_grow(float64):
    schedule = NoiseSchedule("cosine", steps=160)
    errors = [error_of(lambda x, n=n: diffusion.ddim(denoiser(schedule), x, schedule, steps=n)) for n in (20, 40, 160)]
    assert errors[0] > 1.6 * errors[1] > 1.6**2 * errors[2]
    assert errors[2] < 0.01


def test_drawn_noise_reaches_the_gaussian():
    schedule = NoiseSchedule("cosine", steps=300)

    @px.jit
    def sample(key):
        start, key = jax.random.split(key)
        noise, options = jax.random.normal(start, (5000, 2)), {"key": key, "steps": None}
        best = denoiser(schedule)
        return diffusion.ddpm(best, noise, schedule, **options), diffusion.ddim(
            best, noise, schedule, eta=1.0, **options
        )

    for y in sample(jax.random.key(0)):
        y = np.asarray(y, "float64")
        np.testing.assert_allclose(y.mean(0), MEAN, atol=0.03)  # 3 standard errors
        np.testing.assert_allclose(np.cov(y.T), COV, atol=0.03)  # 2 of them, and as much for the size of a step


# --- losses ------------------------------------------------------------------------------------------


def test_the_best_denoiser_has_the_least_loss():
    """The loss of E[noise | x_t] is the mean over t of its posterior variance, which is known."""
    schedule = NoiseSchedule("cosine", steps=50)
    x = np.random.default_rng(0).multivariate_normal(MEAN, COV, 40_000).astype("float32")
    a = schedule.alpha_bars[:, None, None]
    left = np.eye(2) - (1 - a) * np.linalg.inv(a * COV + (1 - a) * np.eye(2))
    want = np.trace(left, axis1=1, axis2=2).mean() / 2

    @px.jit
    def losses(x, key):
        best = denoiser(schedule)
        velocity = lambda x, t: _velocity(best, schedule, x, t)  # noqa: E731
        clean = lambda x, t: _clean(best, schedule, x, t)  # noqa: E731
        return (
            diffusion.ddpm_loss(best, x, key, schedule),
            diffusion.ddpm_loss(velocity, x, key, schedule, prediction="v"),
            diffusion.ddpm_loss(clean, x, key, schedule, prediction="sample"),
        )

    noise, velocity, sample = losses(jnp.asarray(x), jax.random.key(0))
    assert float(noise) == pytest.approx(want, rel=0.02)
    share = np.trace(left / a, axis1=1, axis2=2).mean() / 2  # v = (noise - sqrt(1 - a) x_t) / sqrt(a)
    assert float(velocity) == pytest.approx(share, rel=0.02)
    share = np.trace(left * (1 - a) / a, axis1=1, axis2=2).mean() / 2
    assert float(sample) == pytest.approx(share, rel=0.03)


def _clean(best, schedule, x, t):
    signal, spread = schedule.shares(t, x)
    return (x - spread * best(x, t)) / signal


def _velocity(best, schedule, x, t):
    signal, spread = schedule.shares(t, x)
    return signal * best(x, t) - spread * _clean(best, schedule, x, t)


def test_the_best_velocity_has_the_least_loss():
    """Over times as they are drawn: uniform, and logit-normal, whose density is known."""
    x = np.random.default_rng(0).multivariate_normal(MEAN, COV, 40_000).astype("float32")
    grid = (np.arange(2000) + 0.5) / 2000
    logit = np.log(grid / (1 - grid)) - 0.5
    t = grid[:, None, None]
    joint = (t - 1) * COV + t * np.eye(2)  # of noise - data with x_t
    spread = (1 - t) ** 2 * COV + t**2 * np.eye(2)
    left = np.trace(COV + np.eye(2) - joint @ np.linalg.inv(spread) @ joint, axis1=1, axis2=2) / 2

    @px.jit
    def losses(x, key):
        options = {"times": "logit_normal", "logit_mean": 0.5, "logit_std": 1.5}
        return diffusion.flow_matching_loss(flow, x, key), diffusion.flow_matching_loss(flow, x, key, **options)

    uniform, logit_normal = losses(jnp.asarray(x), jax.random.key(0))
    assert float(uniform) == pytest.approx(left.mean(), rel=0.02)
    density = np.exp(-((logit / 1.5) ** 2) / 2) / (grid * (1 - grid))
    assert float(logit_normal) == pytest.approx(np.average(left, weights=density), rel=0.02)
    assert abs(left.mean() / np.average(left, weights=density) - 1) > 0.05  # they tell the two apart


# --- conditions --------------------------------------------------------------------------------------


def conditional(x, t, label):
    return x * (1.0 + label[:, None]) + t[:, None] / 1000


def test_guidance_is_the_difference_enlarged(float64):
    schedule, noise, labels = NoiseSchedule(steps=20), jnp.asarray(START), jnp.array([1, 3])
    given = {"condition": labels, "unconditional": 7}

    def guided(x, t):
        free = conditional(x, t, jnp.full(2, 7))
        return free + 2.5 * (conditional(x, t, labels) - free)

    want = diffusion.ddim(guided, noise, schedule, steps=3)
    assert_close(diffusion.ddim(conditional, noise, schedule, steps=3, guidance=2.5, **given), want)
    want = diffusion.flow_matching(guided, noise, steps=3, method="heun")
    assert_close(diffusion.flow_matching(conditional, noise, steps=3, method="heun", guidance=2.5, **given), want)
    plain = diffusion.flow_matching(lambda x, t: conditional(x, t, labels), noise, steps=3)
    assert_close(diffusion.flow_matching(conditional, noise, steps=3, condition=labels), plain)
    key = jax.random.key(0)
    loss = diffusion.flow_matching_loss(conditional, noise, key, condition=labels)
    assert_close(loss, diffusion.flow_matching_loss(lambda x, t: conditional(x, t, labels), noise, key))


def test_each_example_has_its_own_guidance():
    """In a batch as long as the last axis, along which the numbers would have gone."""
    noise, labels, schedule = jnp.asarray(START[:, :2], jnp.float32), jnp.array([1.0, 3.0]), NoiseSchedule(steps=20)

    def drawn(noise, labels, guidance):
        given = {"condition": labels, "unconditional": 7.0, "guidance": guidance}
        return diffusion.ddim(conditional, noise, schedule, steps=3, **given)

    got = px.jit(drawn)(noise, labels, jnp.array([1.5, 4.0]))
    want = [px.jit(drawn)(noise[i : i + 1], labels[i : i + 1], s) for i, s in enumerate((1.5, 4.0))]
    assert_close(got, np.concatenate(want))


def test_times_in_16_bits_are_as_many_and_never_the_ends():
    seen = []

    def net(x, t):
        seen.append((x.dtype, np.asarray(t)))
        return 0 * x

    x = jnp.zeros((20_000, 1), jnp.bfloat16)
    diffusion.flow_matching_loss(net, x, KEY)
    ((dtype, t),) = seen
    assert dtype == jnp.bfloat16
    assert t.dtype == np.float32
    assert len(np.unique(t)) > 19_000
    assert t.max() < 1000


def test_noise_in_16_bits_is_rounded_once():
    schedule = NoiseSchedule(steps=20)
    x, noise = (np.asarray(v, jnp.bfloat16) for v in np.random.default_rng(3).normal(size=(2, 50, 4)))
    share = schedule.alpha_bars[7]
    want = np.sqrt(share) * x.astype(float) + np.sqrt(1 - share) * noise.astype(float)
    np.testing.assert_array_equal(schedule.add_noise(x, noise, 7), want.astype(jnp.bfloat16))


def test_labels_are_dropped_in_training_alone():
    label = px.trainmode(diffusion.LabelEmbedding(3, 2, dropout=0.3, key=0))
    told = jnp.zeros(4000, int)
    y = px.jit(lambda layer, told: layer(told))(label, told)
    dropped = np.asarray((y == label.table.weight[3]).all(-1))
    assert dropped.mean() == pytest.approx(0.3, abs=0.03)
    assert (np.asarray(y)[~dropped] == np.asarray(label.table.weight[0])).all()
    again = px.jit(lambda layer, told: layer(told))(label, told)
    assert (np.asarray(again) != np.asarray(y)).any()
    assert (px.testmode(label)(told) == label.table.weight[0]).all()


# --- refusals ----------------------------------------------------------------------------------------

SCHEDULE = NoiseSchedule(steps=20)
NOISE = jnp.ones((2, 3))
KEY = jax.random.key(0)
T, BYTES = np.array([0, 19]), np.full((2, 3), 200, np.uint8)


def guided(guidance):
    given = {"condition": NOISE[:, 0], "unconditional": 7, "guidance": guidance}
    return diffusion.ddim(conditional, NOISE, SCHEDULE, steps=1, **given)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: NoiseSchedule("quadratic"), "NoiseSchedule expects kind of 'linear', .*, got 'quadratic'"),
        (lambda: NoiseSchedule(steps=1), "steps as a whole number of at least 2, got 1"),
        (lambda: NoiseSchedule(beta_end=1.5), "0 < beta_start <= beta_end < 1, got 0.0001 and 1.5"),
        (lambda: SCHEDULE.timesteps(21), "NoiseSchedule.timesteps expects 1 to 20 steps, got 21"),
        (lambda: SCHEDULE.timesteps(2, "even"), "spacing of 'leading', 'trailing', 'linspace', got 'even'"),
        (lambda: diffusion.ddim(model, NOISE, SCHEDULE, steps=2, eta=0.5), "ddim expects key= where eta is above 0"),
        (lambda: diffusion.ddim(model, NOISE, SCHEDULE, steps=2, eta=2), "0 <= eta <= 1, got eta=2"),
        (lambda: diffusion.ddim(model, NOISE, SCHEDULE, steps=2, clip=0), "clip above 0, or None, got 0"),
        (
            lambda: diffusion.ddpm(model, NOISE, SCHEDULE, key=KEY, prediction="v_prediction"),
            "prediction of 'epsilon', 'sample', 'v', got 'v_prediction'\n  fix: write 'v'",
        ),
        (
            lambda: diffusion.ddpm_loss(model, NOISE, KEY, NoiseSchedule(zero_terminal_snr=True)),
            "a prediction from which data follows .*\n  fix: train the network to predict 'v'",
        ),
        (lambda: diffusion.ddpm(model, NOISE, SCHEDULE, key=KEY, variance="learned"), "variance of 'small' or 'large'"),
        (
            lambda: diffusion.flow_matching(model, NOISE, method="rk4"),
            "method of 'euler', 'heun', 'midpoint', got 'rk4'",
        ),
        (lambda: diffusion.flow_matching(model, NOISE, steps=0), "steps of at least 1, got 0"),
        (
            lambda: diffusion.flow_matching_loss(model, NOISE, KEY, times="cosine"),
            "times of 'uniform' or 'logit_normal'",
        ),
        (lambda: diffusion.flow_matching(conditional, NOISE, guidance=3.0, condition=NOISE), "without a condition"),
        (
            lambda: diffusion.flow_matching(lambda x, t: jnp.ones((2, 6)), NOISE),
            r"a model that returns \[2, 3\], the shape of x, got float32\[2, 6\]\n  fix: leave the learned",
        ),
        (lambda: guided(jnp.ones((1, 2))), r"ddim expects guidance \(\) or \(batch,\), got float32\[1, 2\]"),
        (lambda: guided(jnp.ones(3)), r"guidance \(\) or \(2,\), got float32\[3\]\n  fix: give one number, or"),
        (lambda: guided("much"), r"guidance \(\) or \(batch,\), got"),
        (
            lambda: SCHEDULE.add_noise(NOISE, np.ones(3, "float32"), T),
            r"add_noise expects noise \[2, 3\], as the data, got float32\[3\]",
        ),
        (lambda: SCHEDULE.add_noise(NOISE, NOISE, np.zeros(5, int)), r"times \(\) or \[2\], got int64\[5\]"),
        (lambda: SCHEDULE.add_noise(NOISE, NOISE, np.array([0, 20])), "times from 0 to 19, got 0 to 20"),
        (lambda: SCHEDULE.velocity(NOISE, NOISE, np.array([-1, 3])), "velocity expects times from 0 to 19, got -1 to"),
        (lambda: diffusion.DiTConfig(size=9), "DiTConfig expects size as a multiple of patch, got size=9 and 2"),
        (lambda: diffusion.DiTConfig.named("M/2"), "a size S, B, L or XL and a patch 2, 4 or 8, got 'M/2'"),
        (lambda: diffusion.UNetConfig(groups=24), "channels that are multiples of groups"),
        (lambda: diffusion.UNetConfig(attention=(True,)), "attention for each level of channels, got 1 and 4"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: SCHEDULE.add_noise(BYTES, NOISE, T),
            r"add_noise expects data of floats, got uint8\[2, 3\]\n  fix: sc",
        ),
        (lambda: SCHEDULE.velocity(NOISE, BYTES, T), "velocity expects noise of floats"),
        (lambda: SCHEDULE.add_noise(NOISE, NOISE, T / 2), r"whole numbers as times, got float64\[2\]"),
        (lambda: diffusion.ddpm_loss(model, BYTES, KEY, SCHEDULE), "ddpm_loss expects data of floats"),
        (lambda: diffusion.flow_matching_loss(model, BYTES, KEY), "flow_matching_loss expects data of floats"),
        (lambda: diffusion.ddim(model, BYTES, SCHEDULE, steps=2), "ddim expects noise of floats"),
        (lambda: diffusion.ddpm(model, BYTES, SCHEDULE, key=KEY), "ddpm expects noise of floats"),
        (lambda: diffusion.flow_matching(model, BYTES), "flow_matching expects noise of floats"),
    ],
)
def test_whole_numbers_are_refused(call, text):
    with pytest.raises(px.DtypeError, match=text):
        call()
