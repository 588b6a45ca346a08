"""A small vision transformer that knows the digits 0 to 4 learns 5 to 9: its head alone, LoRA, or all of it.

Run it: ``python examples/lora_images.py``. Printed is how many numbers each way trains, and the accuracy on images
that were never seen. It takes about a minute on a CPU.
"""

import argparse

import jax
import numpy as np
from digits_cnn import digits

import phlox as px

Data = tuple[np.ndarray, np.ndarray]
HALF = 5  # kinds of digits that are learned first


def halves(data: Data) -> tuple[Data, Data]:
    """The images of 0 to 4, and of 5 to 9, which are counted from 0 too."""
    images, labels = data
    low = labels < HALF
    return (images[low], labels[low]), (images[~low], labels[~low] - HALF)


def network(dim: int, layers: int, key: jax.Array) -> px.models.ViT:
    """16 patches of 2 × 2 pixels."""
    config = px.models.ViTConfig(
        hidden_size=dim, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=2 * dim, image_size=8,
        patch_size=2, num_channels=1, classes=HALF, layer_norm_eps=1e-6,
    )  # fmt: skip
    return px.models.create(config, key=key)


def fit(model: px.models.ViT, data: Data, epochs: int, rate: float) -> None:
    """Learn from images."""
    steps = epochs * (len(data[1]) // 32 + 1)
    rule = px.optim.AdamW(px.optim.one_cycle(rate, steps, rise=0.2), weight_decay=1e-3)
    px.fit(model, data, loss=px.losses.cross_entropy, optimizer=rule, epochs=epochs, batch_size=32)


def accuracy(model: px.models.ViT, data: Data) -> float:
    """The share of images that are told."""
    metrics = {"accuracy": px.metrics.Accuracy()}
    return px.evaluate(model, data, loss=px.losses.cross_entropy, metrics=metrics)["accuracy"]


def ways(base: px.models.ViT, rank: int) -> dict[str, px.models.ViT]:
    """The network with a new head, made ready to learn in each way."""
    with px.seed(1):
        base.head = px.Dense(base.config.hidden_size, HALF)
    head, low, whole = (px.copy(base) for _ in range(3))
    px.freeze(head)
    px.adapt.lora(low, rank, where=["**.q_proj", "**.v_proj"], key=1)
    for model in (head, low):
        px.thaw(model.head)
    return {"head alone": head, f"LoRA, rank {rank}": low, "all of it": whole}


def main(
    first_epochs: int = 30, epochs: int = 20, *, few: int = 200, dim: int = 64, layers: int = 4, rank: int = 4
) -> dict[str, float]:
    """Learn the first half, then the second from few images in each way; the accuracy of each."""
    train, test = digits()
    (known, new), (_, test_new) = halves(train), halves(test)
    base = network(dim, layers, jax.random.key(0))
    fit(base, known, first_epochs, 2e-3)
    print(f"0 to {HALF - 1}: accuracy {accuracy(base, halves(test)[0]):.3f}")
    results = {}
    for name, model in ways(base, rank).items():
        fit(model, (new[0][:few], new[1][:few]), epochs, 1e-3 if name == "all of it" else 5e-3)
        count = sum(array.size for array in jax.tree.leaves(px.split(model)[0]))
        results[name] = accuracy(model, test_new)
        print(f"{HALF} to 9, {name:14}: accuracy {results[name]:.3f}, {count:7,} numbers trained")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=200, help="images of 5 to 9 to learn from")
    main(few=parser.parse_args().few)
