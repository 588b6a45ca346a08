"""Encrypted inference: decrypted answers are those of the model, levels are as planned, and secrets stay."""

import pickle
import stat
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.privacy.encrypted._planning import MOST_BITS, levels_of, plan, width_of
from phlox.privacy.encrypted._program import Affine, Power, program_of

ts = oracle("tenseal")
RNG = np.random.default_rng(0)
SQUARE = px.privacy.Polynomial([0.1, 0.5, 0.25], center=0.5, radius=2.0)


def convolutional():
    """Six by six pixels in, three scores out; the norm has seen something."""
    model = px.Chain(
        px.Conv((3, 3), 1, 2, SQUARE, padding=1, key=0), px.BatchNorm(2), px.MeanPool((2, 2)), px.flatten,
        px.Dropout(0.5), px.Dense(18, 3, key=1),
    )  # fmt: skip
    model.layers[1].mean, model.layers[1].var = jnp.array([0.5, -1.0]), jnp.array([2.0, 0.5])
    return model


def test_decrypted_answers_are_those_of_the_model():
    model = convolutional()
    encrypted = px.privacy.EncryptedModel(model, (6, 6, 1))
    assert encrypted.parameters.degree == 8192
    assert encrypted.parameters.levels == 3  # the norm, the mean and the last layer are one matrix
    keys = px.privacy.EncryptionKeys(encrypted.parameters)
    image = np.float32(RNG.normal(size=(6, 6, 1)))
    answer = keys.decrypt(encrypted.session(keys.public()).answer(keys.encrypt(image)))
    np.testing.assert_allclose(answer, model(image[None])[0], atol=1e-3)


@pytest.mark.soak
def test_360_digits_are_told_as_in_the_clear():
    images, labels = px.data.digits()
    train, shown = (images[:-360], labels[:-360]), images[-360:]
    model = px.Chain(px.flatten, px.Dense(64, 32, px.relu, key=0), px.Dense(32, 10, key=1))
    given = dict(loss=px.losses.cross_entropy, batch_size=64, progress=False)
    px.fit(model, train, optimizer=px.optim.Adam(3e-3), epochs=20, **given)
    fitted = px.privacy.with_polynomials(model, train[0][:512])
    px.fit(fitted, train, optimizer=px.optim.Adam(3e-4), epochs=10, **given)
    encrypted = px.privacy.EncryptedModel(fitted, (8, 8, 1))
    keys = px.privacy.EncryptionKeys(encrypted.parameters)
    session = encrypted.session(keys.public())
    answers = np.array([keys.decrypt(session.answer(keys.encrypt(image))) for image in shown])
    np.testing.assert_allclose(answers, fitted(shown), atol=1e-3)
    assert (answers.argmax(1) == np.asarray(fitted(shown)).argmax(1)).mean() >= 0.99
    assert (answers.argmax(1) == labels[-360:]).mean() > 0.85  # the network is one that has learned


@pytest.mark.soak
@pytest.mark.parametrize("scale_bits", [25, 40])
def test_deeper_models_answer_too(scale_bits):
    cubic = px.privacy.Polynomial([0.1, 0.6, 0.1, 0.3], radius=2.0)
    model = px.Chain(px.Dense(12, 40, SQUARE, key=0), px.Dense(40, 20, cubic, key=1), px.Dense(20, 3, key=2))
    encrypted = px.privacy.EncryptedModel(model, (12,), scale_bits=scale_bits)
    keys = px.privacy.EncryptionKeys(encrypted.parameters)
    session, x = encrypted.session(keys.public()), np.float32(RNG.normal(size=12))
    answer = keys.decrypt(session.answer(keys.encrypt(x)))
    np.testing.assert_allclose(answer, model(x[None])[0], atol=2e-2 if scale_bits == 25 else 1e-4)


@pytest.mark.soak
def test_vectors_that_fill_a_ciphertext_are_multiplied_rightly():
    """4062 of 4096 slots must hold right numbers at the start."""
    first, second = (px.Dense(2000, 2000, key=0), px.Dense(2000, 64, key=1))
    model = px.Chain(first, px.privacy.Polynomial([0.0, 1.0, 0.5]), second)
    encrypted = px.privacy.EncryptedModel(model, (2000,), scale_bits=30)
    assert width_of(encrypted.steps, 64) == 4062
    assert encrypted.parameters.degree == 8192
    keys = px.privacy.EncryptionKeys(encrypted.parameters)
    x = np.float32(RNG.normal(size=2000))
    answer = keys.decrypt(encrypted.session(keys.public()).answer(keys.encrypt(x)))
    np.testing.assert_allclose(answer, model(x[None])[0], atol=3e-2)  # of 2000 numbers added up


# --- programs --------------------------------------------------------------------------------------------


def test_a_program_computes_what_its_model_does():
    model = px.Chain(
        px.Conv((3, 3), 2, 4, SQUARE, stride=2, padding=1, key=0),
        px.Chain(px.BatchNorm(4, SQUARE), px.MeanPool((2, 2)), px.identity),
        px.flatten, px.Dense(4, 3, key=1), px.privacy.Polynomial([1.0, 2.0, 0.0, 0.5]),
    )  # fmt: skip
    model.layers[0].bias, model.layers[3].bias = jnp.array([1.0, -0.5, 0.2, 0.7]), jnp.array([0.3, -1.0, 2.0])
    x = np.float32(RNG.normal(size=(5, 4, 4, 2)))
    encrypted = px.privacy.EncryptedModel(model, (4, 4, 2), scale_bits=25)
    np.testing.assert_allclose(encrypted.in_the_clear(x), model(x), rtol=1e-4, atol=1e-4)
    kinds = [type(step).__name__ for step in encrypted.steps]
    assert kinds == ["Affine", "Power"] * 3
    assert [step.coefficients[-1] for step in encrypted.steps[1::2]] == [1.0, 1.0, 0.5]  # the last has none behind it


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (px.Dense(4, 4, px.relu), r"model\.layers\[1\], got Dense\(4 → 4, relu\)"),
        (px.LayerNorm(4), r"model\.layers\[1\], got LayerNorm"),
        (px.softmax, r"model\.layers\[1\], got softmax"),
        (lambda x: x * x.sum(0), r"model\.layers\[1\], got <lambda>"),
    ],
)
def test_what_is_neither_affine_nor_a_polynomial_is_refused_with_its_path(layer, told):
    with pytest.raises(px.StructureError, match=told):
        px.privacy.EncryptedModel(px.Chain(px.Dense(4, 4), layer), (4,))


def test_polynomials_take_the_levels_that_were_planned():
    """As the ciphertext itself tells; with one level fewer there is no answer."""
    context = ts.context(ts.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[30] + [22] * 7 + [30])
    context.global_scale = 2.0**22
    for coefficients in [
        (0.5, 1.0), (0.0, 2.0), (0.0, 0.0, 1.0), (1.0, 2.0, 1.0), (1.0, 2.0, 3.0), (0.0, 1.0, 1.0, 1.0),
        (0.0, 0.3, 0.2, 2.0), (0.0, 0.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0, 0.5, 1.0), (1.0, 1.0, 1.0, 1.0, 0.5),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5), (0.0, 0.5, 0.0, 0.5, 0.0, 0.5, 0.0, 1.0), (0.0, *[1.0] * 8),
    ]:  # fmt: skip
        x = ts.ckks_vector(context, [0.5, -0.25])
        before = x.ciphertext()[0].coeff_modulus_size()
        after = x.polyval(list(coefficients)).ciphertext()[0].coeff_modulus_size()
        assert before - after == levels_of(Power("", coefficients)), coefficients


def test_the_smallest_secure_parameters_are_chosen():
    def steps(*sizes):
        return [Affine("", np.zeros((a, b)), np.zeros(b)) for a, b in pairwise(sizes)]

    def planned(*sizes, bits):
        return plan(steps(*sizes), (sizes[0],), sizes[-1], bits)

    assert planned(8, 3, bits=20).degree == 4096
    assert planned(8, 3, bits=20).bits == (40, 20, 40)
    assert planned(8, 3, bits=40).degree == 8192
    assert planned(8, 8, 8, 8, bits=40).degree == 16384
    assert planned(4000, 97, bits=40).degree == 8192  # 97 + 3999 of 4096
    assert planned(4000, 98, bits=40).degree == 16384
    assert planned(8, 8, 8, 3, bits=None).bits == (55, 35, 35, 35, 55)  # 215 of 218
    assert planned(8, 8, 3, bits=None).scale_bits == 40
    for levels in range(1, 19):
        found = planned(*[2] * (levels + 1), bits=40)
        assert sum(found.bits) <= MOST_BITS[found.degree]
        assert found.levels == levels
    with pytest.raises(px.RangeError, match="at most 19 levels and 16384 slots, at scale_bits=40, got a model of 20"):
        planned(*[2] * 21, bits=40)


# --- keys ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """A model of one level, a client's keys, and what it sent; made once."""
    encrypted = px.privacy.EncryptedModel(px.Dense(2, 1, key=0), (2,), scale_bits=20)
    keys = px.privacy.EncryptionKeys(encrypted.parameters)
    return encrypted, keys, keys.public()


def test_what_a_server_gets_holds_no_secret_key_and_a_secret_key_is_refused(small, tmp_path):
    encrypted, keys, public = small
    assert not ts.context_from(public).has_secret_key()
    secret = tmp_path / "keys"
    keys.save(secret)
    with pytest.raises(px.RangeError, match="without the secret one, which stays with the client, got a secret key"):
        encrypted.session(secret.read_bytes())
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        keys.save(secret)
    answer = encrypted.session(public).answer(keys.encrypt(np.ones(2)))
    again = px.privacy.EncryptionKeys.load(secret, encrypted.parameters)
    np.testing.assert_allclose(again.decrypt(answer), encrypted.in_the_clear(np.ones((1, 2)))[0], atol=5e-2)  # 20 bits
    (tmp_path / "public").write_bytes(public)
    with pytest.raises(px.RangeError, match="a file with a secret key, got public keys"):
        px.privacy.EncryptionKeys.load(tmp_path / "public", encrypted.parameters)
    with pytest.raises(px.StructureError, match=r"a copy of the secret key by pickle.*\n.*keys\.public\(\)"):
        pickle.dumps(keys)


def test_the_same_example_is_another_text_each_time(small):
    _, keys, _ = small
    assert keys.encrypt(np.ones(2)) != keys.encrypt(np.ones(2))


def test_what_is_no_request_is_refused(small):
    encrypted, keys, public = small
    session = encrypted.session(public)
    with pytest.raises(px.ShapeError, match=r"one example, \[2\], got float64\[1, 2\]"):
        keys.encrypt(np.ones((1, 2)))
    with pytest.raises(px.RangeError, match="an encrypted example"):
        session.answer(b"digits")
    with pytest.raises(px.RangeError, match="public keys"):
        encrypted.session(b"keys")
    with pytest.raises(px.RangeError, match="an encrypted answer"):
        keys.decrypt(b"scores")
    answer = session.answer(keys.encrypt(np.ones(2)))
    with pytest.raises(px.RangeError, match="2 fresh numbers with 1 levels, got 1 with 0"):
        session.answer(answer)
    lacking = keys._context.serialize(save_secret_key=False, save_galois_keys=False)
    with pytest.raises(px.RangeError, match="keys to encrypt, multiply and rotate, got none of galois_keys"):
        encrypted.session(lacking)


def test_keys_with_too_few_levels_say_which_step_lacks_one(small):
    encrypted = px.privacy.EncryptedModel(convolutional(), (6, 6, 1))
    with pytest.raises(px.RangeError, match=r"got 1 levels .*: model\.layers\[0\]\.act, .* of degree 2, needs level 2"):
        encrypted.session(small[2])


# --- polynomials -----------------------------------------------------------------------------------------


def test_a_polynomial_is_found_again_and_others_are_near():
    cube = lambda x: 2 * x**3 - x  # noqa: E731
    model = px.Chain(px.Dense(4, 16, cube, key=0), px.Dense(16, 2, key=1))
    x = np.float32(RNG.normal(size=(200, 4)))
    fitted = px.privacy.with_polynomials(model, x, degree=3)
    np.testing.assert_allclose(fitted(x), model(x), rtol=1e-3, atol=1e-3)
    assert model.layers[0].act is cube
    errors = []
    relu = px.Chain(px.Dense(4, 16, px.relu, key=0))
    for degree in (2, 4, 8):
        errors.append(float(jnp.abs(px.privacy.with_polynomials(relu, x, degree=degree)(x) - relu(x)).mean()))
    assert errors[0] < 0.12
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < 0.7 * errors[1]


def test_each_activation_is_fitted_where_it_stands_to_what_comes_there():
    model = px.Chain(
        px.Dense(4, 8, px.tanh, key=0), px.relu, px.nn.WrappedFunction(px.gelu), px.BatchNorm(8, px.relu), px.flatten,
        px.Dense(8, 3, key=1), px.softmax,
    )  # fmt: skip
    x = np.float32(5 * RNG.normal(size=(64, 4)))
    fitted = px.privacy.with_polynomials(model, x, margin=0.0)
    found = [fitted.layers[0].act, fitted.layers[1], fitted.layers[2], fitted.layers[3].act]
    assert all(isinstance(act, px.privacy.Polynomial) for act in found)
    assert fitted.layers[4] is px.flatten
    assert fitted.layers[6] is px.softmax
    entering = np.asarray(model.layers[0].of(model.layers[0].weight, model.layers[0].bias)(x))
    assert found[0].center == pytest.approx((entering.max() + entering.min()) / 2, rel=1e-4)
    assert found[0].radius == pytest.approx((entering.max() - entering.min()) / 2, rel=1e-4)
    entering = np.asarray(found[0](entering))  # what the polynomial before gives
    assert found[1].radius == pytest.approx((entering.max() - entering.min()) / 2, rel=1e-4)


def test_polynomials_train():
    act = px.privacy.Polynomial([0.0, 1.0, 0.5], center=1.0, radius=2.0)
    grads = px.grad(lambda act: act(jnp.array([3.0, 5.0])).sum())(act)
    np.testing.assert_allclose(grads.coefficients, [2.0, 1.0 + 2.0, 1.0 + 4.0])


def test_a_model_without_affine_parts_is_one_of_polynomials():
    steps = program_of(px.privacy.Polynomial([0.0, 0.0, 1.0]), (3,))
    assert [type(step) for step in steps] == [Affine, Power]
