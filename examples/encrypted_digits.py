"""Ask a server what a digit is, without showing it: encrypted images go over HTTP, encrypted scores come back.

The secret key stays with the client. ``python examples/encrypted_digits.py`` trains a network, serves it, and asks.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import phlox as px

LIMITS = px.serving.Limits(body=256 << 20)  # public keys are long


def network() -> px.Chain:
    """Trained with ReLU, then on with the polynomials that stand in its place."""
    images, labels = px.data.digits()
    train = images[:-360], labels[:-360]
    model = px.Chain(
        px.Conv((3, 3), 1, 8, px.relu, stride=2, padding=1, key=0),
        px.BatchNorm(8),
        px.flatten,
        px.Dense(128, 10, key=1),
    )
    given = dict(loss=px.losses.cross_entropy, batch_size=64, progress=False)
    px.fit(model, train, optimizer=px.optim.Adam(3e-3), epochs=30, **given)
    fitted = px.privacy.with_polynomials(model, train[0][:512])
    px.fit(fitted, train, optimizer=px.optim.Adam(3e-4), epochs=10, **given)
    return fitted


# --- at the server -------------------------------------------------------------------------------------


class Keys(px.serving.Servable):
    """Takes a client's public keys, and gives it a name; keys with a secret one among them are refused."""

    def __init__(self, model: px.privacy.EncryptedModel, sessions: dict[str, px.privacy.EncryptedSession]):
        super().__init__(inputs={"public": "str"}, outputs={"client": "str"})
        self.model, self.sessions = model, sessions

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [secrets.token_hex(16) for _ in inputs["public"]]
        for name, public in zip(names, inputs["public"], strict=True):
            try:
                self.sessions[name] = self.model.session(raw(public))
            except px.RangeError as error:
                raise px.serving.InvalidRequestError(error.expected, got=error.got, fix=error.fix) from error
        return {"client": texts(names)}


class Digits(px.serving.Servable):
    """Computes with what it cannot read."""

    def __init__(self, sessions: dict[str, px.privacy.EncryptedSession]):
        super().__init__(inputs={"client": "str", "image": "str"}, outputs={"scores": "str"})
        self.sessions = sessions

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        answers = []
        for client, image in zip(inputs["client"], inputs["image"], strict=True):
            if client not in self.sessions:
                raise px.serving.InvalidRequestError(
                    "a client whose keys are here", got="another", fix="send keys first"
                )
            answers.append(self.sessions[client].answer(raw(image)))
        return {"scores": texts(answers)}


def texts(values: list[str] | list[bytes]) -> np.ndarray:
    """Texts or bytes, a row each."""
    return np.array(values, object)


def raw(value: str | bytes) -> bytes:
    """Bytes that a server may take for text."""
    return value if isinstance(value, bytes) else value.encode()


def serve(model: px.privacy.EncryptedModel) -> px.serving.Server:
    """Both behind HTTP, on a port that is free."""
    sessions: dict[str, px.privacy.EncryptedSession] = {}
    return px.serving.Server({"keys": Keys(model, sessions), "digits": Digits(sessions)}, port=0, limits=LIMITS)


# --- at the client -------------------------------------------------------------------------------------


@dataclass
class Asked:
    """What a client got, and what it took."""

    scores: np.ndarray  # (images, 10)
    seconds: float  # an image, there and back
    sent: int  # bytes of an encrypted image
    keys: int  # bytes of public keys


def ask(url: str, parameters: px.privacy.EncryptionParameters, images: np.ndarray) -> Asked:
    """Scores of images that the server never sees."""
    keys = px.privacy.EncryptionKeys(parameters)
    public, scores = keys.public(), []
    with px.serving.Client(url) as client:
        name = client.predict("keys", {"public": texts([public])})["client"][0]
        start = time.perf_counter()
        for image in images:
            sent = keys.encrypt(image)
            answer = client.predict("digits", {"client": texts([name]), "image": texts([sent])})
            scores.append(keys.decrypt(answer["scores"][0]))
    return Asked(np.array(scores), (time.perf_counter() - start) / len(images), len(sent), len(public))


def main(images: int = 20) -> float:
    """Serve, ask, and return how often encrypted answers are those of the network itself."""
    network_ = network()
    model, shown = px.privacy.EncryptedModel(network_, (8, 8, 1)), px.data.digits()[0][-images:]
    with serve(model) as server:
        found = ask(server.url, model.parameters, shown)
    clear = np.asarray(px.predict(network_, shown))
    print(f"{found.seconds:.2f} s and {found.sent >> 10} KiB an image, {found.keys >> 20} MiB of keys once")
    return float((found.scores.argmax(1) == clear.argmax(1)).mean())


if __name__ == "__main__":
    print(f"{main():.1%} of digits are told as in the clear")
