"""``phlox chat``: answers are those of px.generate on what was said; what a person and a pipe see."""

import dataclasses
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import phlox as px
from kit import oracle
from phlox import cli
from phlox.cli import _chat
from phlox.cli._conversation import Conversation
from phlox.cli._pieces import Pieces
from texts import byte_pairs

oracle("tokenizers")
oracle("jinja2")
ROOT = Path(__file__).parents[2]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role[0] }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|a|>{% endif %}"
)
SPECIAL = ("<|s|>", "<|u|>", "<|a|>", "<|end|>")
NEW = 6


def tokenizer(template=TEMPLATE, special=SPECIAL, **options):
    made = {"eos_token": "<|endoftext|>", "extra_special_tokens": special, **options}
    return px.data.text.Tokenizer(byte_pairs(), chat_template=template, **made)


@pytest.fixture(scope="module")
def model():
    """One that ends its answer to "Hello" with the third token, by its config alone."""
    tok = tokenizer()
    config = px.models.LlamaConfig(
        vocab_size=len(tok), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        initializer_range=0.4, max_position_embeddings=64, eos_token_id=None,
    )  # fmt: skip
    made = px.jit(lambda key: px.models.create(config, key=key))(jax.random.key(0))
    written = new_tokens(made, tok, prompt_of(tok, "Hello"))
    assert len(set(written[:3])) == 3
    made.config = dataclasses.replace(config, eos_token_id=written[2])
    return made


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    made = tmp_path_factory.mktemp("chat")
    px.models.save(model, made)
    tokenizer().save(made)
    return made


def prompt_of(tok, *said):
    """The tokens of a chat, by the template written out."""
    text = "".join(f"<|{'ua'[n % 2]}|>{part}<|end|>\n" for n, part in enumerate(said)) + "<|a|>"
    return tok.encode(text, special=False)


def new_tokens(model, tok, tokens, **options):
    """What px.generate writes, without what ends it."""
    eos = [] if model.config.eos_token_id is None else [model.config.eos_token_id]
    ends = [*eos, tok.eos_id, tok.vocab["<|end|>"]]
    (found,) = px.generate(model, [tokens], max_new=NEW, stop=ends, **options).texts()
    return found[:-1] if found[-1] in ends else found


def talked(monkeypatch, capsys, folder, said, *arguments):
    """The status, and what is written, of lines that come through a pipe."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(said))
    status = cli.main(["chat", str(folder), "--max-new", str(NEW), *arguments])
    return status, *capsys.readouterr()


def test_answers_are_those_of_generate_on_all_that_was_said(model, folder, monkeypatch, capsys):
    tok = tokenizer()
    first = tok.decode(new_tokens(model, tok, prompt_of(tok, "Hello")))
    second = tok.decode(new_tokens(model, tok, prompt_of(tok, "Hello", first, "And you?")))
    assert first != second != tok.decode(new_tokens(model, tok, prompt_of(tok, "And you?")))
    said = "Hello\n\nAnd you?\n/reset\nHello\n/quit\nHello\n"
    assert talked(monkeypatch, capsys, folder, said) == (0, f"{first}\n{second}\n{first}\n", "")


def test_draws_are_those_of_generate_by_the_seed_and_the_turn(model, folder, monkeypatch, capsys):
    tok, key = tokenizer(), jax.random.key(3)
    options = {"temperature": 2.0, "top_k": 9, "top_p": 0.9}
    want = [
        tok.decode(new_tokens(model, tok, prompt_of(tok, "Hello"), key=jax.random.fold_in(key, turn), **options))
        for turn in (1, 2)
    ]
    assert want[0] != want[1]
    arguments = ("--temperature", "2", "--top-k", "9", "--top-p", "0.9", "--seed", "3")
    said = "Hello\n/reset\nHello\n"
    assert talked(monkeypatch, capsys, folder, said, *arguments)[1] == f"{want[0]}\n{want[1]}\n"


def test_without_a_template_a_text_is_gone_on_with(model, folder, tmp_path, monkeypatch, capsys):
    shutil.copytree(folder, tmp_path / "plain")
    tok = tokenizer(template=None, bos_token="<|endoftext|>", add_bos_token=True, add_eos_token=True)
    (tmp_path / "plain" / "chat_template.jinja").unlink()
    tok.save(tmp_path / "plain")
    first = tok.decode(new_tokens(model, tok, tok.encode("To be")[:-1]))
    second = tok.decode(new_tokens(model, tok, tok.encode(f"To be{first}\nor not")[:-1]))
    status, out, err = talked(monkeypatch, capsys, tmp_path / "plain", "To be\nor not\n")
    assert (status, out) == (0, f"{first}\n{second}\n")
    assert err == "phlox: the folder has no chat template: lines are gone on with, as one text\n"
    status, out, err = talked(monkeypatch, capsys, tmp_path / "plain", "To be\n", "--system", "Be brief")
    assert (status, out) == (1, "")
    assert "phlox chat expects a chat template beside --system, got none in the folder\n  fix: leave" in err


def test_a_person_stops_an_answer_and_talks_on(model, folder, monkeypatch, capsys):
    tok = tokenizer()
    lines = iter(["Hello", "x" * 400, "And you?", KeyboardInterrupt, EOFError])

    def typed(_):
        line = next(lines)
        if isinstance(line, str):
            return line
        raise line

    def add(self, token):
        if not model_stopped and len(self.tokens) == 1:
            model_stopped.append(True)
            raise KeyboardInterrupt
        return original(self, token)

    model_stopped, original = [], Pieces.add
    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr(Pieces, "add", add)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert cli.main(["chat", str(folder), "--max-new", str(NEW)]) == 0
    begun = tok.decode(new_tokens(model, tok, prompt_of(tok, "Hello"))[:1])
    second = tok.decode(new_tokens(model, tok, prompt_of(tok, "Hello", begun, "And you?")))
    out, err = capsys.readouterr()
    assert out == f"{begun}\n{second}\n\n\n"
    assert "phlox: Llama; Ctrl-C stops an answer" in err
    assert "phlox: phlox chat expects at most 63 tokens, as the model has places, got " in err


def test_a_pipe_in_a_process_of_its_own(model, folder):
    tok = tokenizer()
    want = tok.decode(new_tokens(model, tok, prompt_of(tok, "Hello")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", "-m", "phlox", "chat", str(folder), "--max-new", str(NEW)]
    done = subprocess.run(command, input="Hello\n", capture_output=True, env=environment, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{want}\n", "")


# --- what was said, as tokens -----------------------------------------------------------------------


def test_the_oldest_turns_are_forgotten_where_there_are_no_places():
    tok = tokenizer()
    said = Conversation(tok, 40, "Be brief")
    for turn in ("one", "two", "three"):
        said.add(turn, "yes")
    before = tok.encode("<|s|>Be brief<|end|>\n", special=False)
    whole = before + prompt_of(tok, "one", "yes", "two", "yes", "three", "yes", "four")
    last = before + prompt_of(tok, "three", "yes", "four")
    assert len(last) <= 30 < len(whole)
    prompt = said.prompt("four", 40 - len(last))
    assert prompt.tokens == last
    assert (prompt.forgotten, prompt.room) == (2, 40 - len(last))
    assert [turn.line for turn in said.turns] == ["three"]
    assert said.prompt("four", 1000).room == 40 - len(before + prompt_of(tok, "four"))
    assert Conversation(tok, None).prompt("four", 1000).room == 1000
    with pytest.raises(px.RangeError, match=r"phlox chat expects at most 39 tokens.*\n  fix: write a shorter line"):
        said.prompt("word " * 40, 10)


def test_an_answer_ends_with_what_the_template_writes_behind_it():
    tok = tokenizer()
    assert Conversation(tok, 64).end == [tok.vocab["<|end|>"]]
    spoken = tokenizer(special=())
    assert spoken.decode(end := Conversation(spoken, 64).end) == "<|end|>"
    assert len(end) > 1
    lines = tokenizer(template="{% for m in messages %}{{ m.content }}\n{% endfor %}")
    assert Conversation(lines, 64).end == []
    config = px.models.LlamaConfig(eos_token_id=(5, tok.eos_id))
    assert _chat._ends(config, Conversation(tok, 64)) == [[5], [tok.eos_id], [tok.vocab["<|end|>"]]]


def test_a_template_that_refuses_a_system_message_says_so():
    refusing = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}x"
    with pytest.raises(px.data.text.ChatTemplateError, match="no system"):
        Conversation(tokenizer(template=refusing + "{% endfor %}"), 64, "Be brief")


# --- answers as they come ---------------------------------------------------------------------------


def shown(tok, tokens, ends=()):
    """The pieces of an answer, the last of them when it is over, and the text that is remembered."""
    pieces = Pieces(tok, ends)
    return [*(pieces.add(token) for token in tokens), pieces.rest()], pieces.text


def test_characters_appear_whole_and_none_is_lost():
    tok, text = tokenizer(), "né 😀👍🏽 漢字, done"
    tokens = tok.encode(text, special=False)
    pieces, whole = shown(tok, tokens)
    assert "".join(pieces) == whole == text
    assert "\ufffd" not in "".join(pieces)
    assert len(tokens) > len([piece for piece in pieces if piece]) > 8
    cut, half = shown(tok, tok.encode("a😀", special=False)[:-1])
    assert cut[0] == "a"
    assert cut[-1] == half[1:]  # an answer that ends in the middle of a character shows that
    assert set(half[1:]) == {"\ufffd"}


def test_the_beginning_of_an_end_waits_until_it_is_one():
    tok = tokenizer()
    a, b, c, d = (tok.vocab[letter] for letter in "abcd")
    ends = [[b, c, d], [d]]
    assert shown(tok, [a, b, c, d], ends) == (["a", "", "", "", ""], "a")
    assert shown(tok, [a, b, c, a], ends) == (["a", "", "", "bca", ""], "abca")
    assert shown(tok, [a, b, b, c], ends) == (["a", "", "b", "", "bc"], "abbc")
    assert shown(tok, [a, d], ends) == (["a", "", ""], "a")


# --- what is refused --------------------------------------------------------------------------------


def test_what_cannot_be_talked_to(folder, tmp_path, monkeypatch, capsys):
    status, out, err = talked(monkeypatch, capsys, tmp_path / "nowhere", "Hello\n")
    assert (status, out) == (1, "")
    assert err.startswith("phlox: Tokenizer.load(")
    assert "expects a folder or a tokenizer.json, got nothing there\n  fix: " in err
    shutil.copy(folder / "config.json", tmp_path)
    assert "Tokenizer.load" in talked(monkeypatch, capsys, tmp_path, "Hello\n")[2]
    config = px.models.BERTConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    bert = px.eval_shape(lambda: px.models.create(config))
    monkeypatch.setattr(px.models, "load", lambda *_, **__: bert)
    status, out, err = talked(monkeypatch, capsys, folder, "Hello\n")
    assert (status, out) == (1, "")
    assert err == (
        "phlox: phlox chat expects a model for 'text-generation', got BERT for 'feature-extraction'\n"
        "  fix: give the folder of a decoder, as those of GPT-2 and Llama are\n"
    )


def test_cuts_want_a_temperature(folder, monkeypatch, capsys):
    status, _, err = talked(monkeypatch, capsys, folder, "Hello\n", "--top-p", "0.5")
    assert status == 1
    assert err.startswith("phlox: phlox chat expects a --temperature above 0 beside --top-p, got 0\n  fix: give")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: FOLDER"),
        (["f", "--temperature", "-1"], "argument --temperature: expected a number from 0 to 100, got '-1'"),
        (["f", "--temperature", "nan"], "argument --temperature: expected a number from 0 to 100, got 'nan'"),
        (["f", "--top-p", "1.5"], "argument --top-p: expected a number from 0 to 1, got '1.5'"),
        (["f", "--top-k", "0"], "argument --top-k: expected a whole number from 1"),
        (["f", "--max-new", "0"], "argument --max-new: expected a whole number from 1"),
        (["f", "--dtype", "int8"], "argument --dtype: invalid choice: 'int8'"),
    ],
)
def test_wrong_arguments_exit_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["chat", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
