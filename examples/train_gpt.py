"""A small GPT-2 from scratch, on the documentation strings of Python's own library, several of them packed in a row.

Run it: ``python examples/train_gpt.py``. It trains for about a minute on a CPU, and then goes on with a sentence.
"""

import argparse
import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

import phlox as px
from phlox.data.text import Tokenizer

END = 0  # the token behind each text
NOTHING = -100  # a target that counts for nothing


def docstrings(files: int | None = None) -> tuple[list[str], list[str]]:
    """The documentation strings of Python's library, and of every eighth module those that are held out."""
    texts: dict[str, bool] = {}  # and whether each is held out; some stand in several modules
    for n, path in enumerate(sorted(Path(ast.__file__).parent.glob("*.py"))[:files]):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                texts.setdefault(text, n % 8 == 0)
    return [t for t, held in texts.items() if not held], [t for t, held in texts.items() if held]


def tokenizer_of(texts: list[str], size: int, **more: str) -> Tokenizer:
    """Byte pairs that are frequent in the texts, as GPT-2 has them, with the end behind each text."""
    made, letters = tokenizers.Tokenizer(models.BPE()), pre_tokenizers.ByteLevel.alphabet()
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    options = {"special_tokens": ["<end>"], "initial_alphabet": letters, "show_progress": False}
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, **options))
    return Tokenizer(made, eos_token="<end>", add_eos_token=True, **more)


def packed(texts: list[list[int]], time: int) -> dict[str, np.ndarray]:
    """Rows (rows, time) of several texts each: their tokens, and which text each belongs to.

    A text longer than a row is cut. The target of a token is the next one of its text.
    """
    rows = px.data.text.pack(texts, time, value=END)
    targets = px.data.text.next_tokens(rows.tokens, segments=rows.segments)
    return {"tokens": rows.tokens, "segments": rows.segments, "targets": targets}


def loss(model: px.models.GPT2, batch: dict[str, jax.Array]) -> jax.Array:
    """Each token is foretold from those before it in its own text, in nats."""
    return px.losses.cross_entropy(model(batch["tokens"], segments=batch["segments"]), batch["targets"])


def perplexity(model: px.models.GPT2, rows: dict[str, np.ndarray], batch: int = 16) -> float:
    """How many tokens the model hesitates between."""
    found = px.metrics.Perplexity(logits=True)
    run = px.jit(lambda model, tokens, segments: model(tokens, segments=segments))
    for i in range(0, len(rows["tokens"]), batch):
        tokens, segments, targets = (rows[name][i : i + batch] for name in ("tokens", "segments", "targets"))
        found.update(run(model, tokens, segments), np.maximum(targets, 0), weight=targets != NOTHING)
    return float(found.compute())


def unigram_perplexity(train: dict[str, np.ndarray], held_out: dict[str, np.ndarray], vocabulary: int) -> float:
    """The same of a model that knows no more than how frequent each token is."""
    counts = 1 + np.bincount(train["targets"][train["targets"] != NOTHING], minlength=vocabulary)
    shares = counts / counts.sum()
    return float(np.exp(-np.log(shares[held_out["targets"][held_out["targets"] != NOTHING]]).mean()))


def go_on(model: px.models.GPT2, tokenizer: Tokenizer, text: str, count: int) -> str:
    """The text with the likeliest tokens behind it, through a cache."""
    tokens = jnp.array([tokenizer.encode(text, special=False)])
    cache, step = model.init_cache(1, tokens.shape[1] + count), px.jit(lambda m, x, cache: m(x, cache=cache))
    written = []
    while len(written) < count and END not in written:
        tokens = jnp.argmax(step(model, tokens, cache)[:, -1:], axis=-1)
        written.append(int(tokens[0, 0]))
    return text + tokenizer.decode(written)


def main(
    steps: int, *, dim: int = 128, layers: int = 3, time: int = 128, size: int = 1024, rate: float = 3e-3,
    files: int | None = None,
) -> tuple[float, float]:  # fmt: skip
    """Train, say what it writes, and return perplexities on modules held out: its own, and the unigrams'."""
    learn, hold = docstrings(files)
    tokenizer = tokenizer_of(learn, size)
    train, held_out = (packed(tokenizer.encode(texts), time) for texts in (learn, hold))
    full = float(np.mean(train["segments"] > 0))
    print(f"{len(learn)} texts in {len(train['tokens'])} rows, of which {full:.1%} is text")
    config = px.models.GPT2Config(
        vocab_size=len(tokenizer), n_positions=time, n_embd=dim, n_layer=layers, n_head=4,
        bos_token_id=END, eos_token_id=END,
    )  # fmt: skip
    with px.seed(0):
        model = px.models.create(config)
    rule = px.optim.AdamW(px.optim.one_cycle(rate, steps, rise=0.1))
    px.fit(model, train, loss=loss, optimizer=rule, steps=steps, batch_size=16, clip=1.0)
    ours, least = perplexity(model, held_out), unigram_perplexity(train, held_out, config.vocab_size)
    print(f"perplexity on modules held out: {ours:.1f}; of single tokens by their frequency: {least:.1f}")
    print(go_on(model, tokenizer, "Return True if", 30))
    return ours, least


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=250)
    main(parser.parse_args().steps)
