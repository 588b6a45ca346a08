"""Make the pictures of the pages on privacy: ``python docs/make_privacy_images.py [name …]``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "examples"))


def private_digits() -> None:
    """What an attack finds of a plain training and of private ones, beside what theory allows it; and what is right."""
    import private_digits as example

    import phlox as px

    plain, *private = example.main()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for found, colour in zip([plain, *private], ["black", "tab:blue", "tab:orange", "tab:green"], strict=True):
        name = "not private" if found is plain else f"ε = {found.epsilon:.0f}"
        left.plot(found.attack.false_positives, found.attack.true_positives, color=colour, label=name)
    left.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    left.set(xlabel="others taken for members", ylabel="members found", title="an attack by losses")
    left.legend(fontsize=8)
    epsilons = [found.epsilon for found in private]
    right.semilogx(epsilons, [found.accuracy for found in private], "o-", label="clean digits right")
    right.axhline(plain.accuracy, color="tab:blue", linewidth=0.8, linestyle="--")
    right.semilogx(epsilons, [found.attack.advantage for found in private], "s-", label="advantage of the attack")
    right.axhline(plain.attack.advantage, color="tab:orange", linewidth=0.8, linestyle="--")
    grid = np.geomspace(0.5, 12, 60)
    bounds = [px.privacy.bound_advantage(float(e), example.DELTA) for e in grid]
    right.semilogx(grid, bounds, color="grey", linewidth=0.8, label="the most that any attack can have")
    right.set(xlabel="ε", ylim=(0, 1.02), title="dashed: not private")
    right.legend(fontsize=8)
    figure.savefig(IMAGES / "private_digits.png", dpi=90)
    for found in (plain, *private):
        print(f"private_digits: ε {found.epsilon:.2f}, {found.accuracy:.1%} right, {found.attack}")


def encrypted_digits() -> None:
    """A digit as its owner sees it, as the server does, and what comes back."""
    import encrypted_digits as example

    import phlox as px

    model = px.privacy.EncryptedModel(example.network(), (8, 8, 1))
    keys, image = px.privacy.EncryptionKeys(model.parameters), px.data.digits()[0][-1]
    request = keys.encrypt(image)
    answer = model.session(keys.public()).answer(request)
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.6), layout="constrained")
    axes[0].imshow(image[..., 0], cmap="gray_r")
    for axis, sent, name in ((axes[1], request, "request"), (axes[2], answer, "answer")):
        side = int(np.sqrt(len(sent)))
        axis.imshow(np.frombuffer(sent[: side * side], np.uint8).reshape(side, side), cmap="gray")
        axis.set_title(f"what the server sees: {name}", fontsize=9)
    axes[0].set_title("what the client has", fontsize=9)
    axes[3].bar(range(10), keys.decrypt(answer))
    axes[3].set_title("what it gets: scores", fontsize=9)
    for axis in axes[:3]:
        axis.set(xticks=[], yticks=[])
    axes[3].set(xticks=range(10), yticks=[])
    figure.savefig(IMAGES / "encrypted_digits.png", dpi=90)
    print(f"encrypted_digits: {len(request) >> 10} KiB sent, {len(answer) >> 10} KiB back")


PICTURES = {"private_digits": private_digits, "encrypted_digits": encrypted_digits}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or PICTURES:
        PICTURES[chosen]()
