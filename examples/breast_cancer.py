"""Breast cancer, benign or malignant, from 30 measurements: beside scikit-learn's own network, on the same folds.

Run it: ``python examples/breast_cancer.py``. Each is asked ten times, about a tenth that it did not see.
"""

import numpy as np
from scipy.special import softmax
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import phlox as px


def by_phlox(x: np.ndarray, y: np.ndarray, unseen: np.ndarray, *, epochs: int) -> np.ndarray:
    """Train on patients x with outcomes y; the probability of each outcome for unseen ones."""
    px.seed(0)
    model = px.Chain(
        px.data.Standardize.fit(x), px.Dense(30, 64, px.relu), px.Dropout(0.3), px.Dense(64, 2),
    )  # fmt: skip
    px.fit(
        model,
        (x, y),
        loss=px.losses.cross_entropy,
        optimizer=px.optim.AdamW(1e-3, weight_decay=0.1),
        epochs=epochs,
        progress=False,
    )
    return softmax(np.asarray(px.predict(model, unseen), float), axis=1)


def by_scikit_learn(x: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """The same by MLPClassifier as it comes, with room to converge."""
    return make_pipeline(StandardScaler(), MLPClassifier(random_state=0, max_iter=1000)).fit(x, y).predict_proba(unseen)


def main(folds: int = 10, epochs: int = 60) -> dict[str, dict[str, float]]:
    """Print and return accuracy and log loss of both over all folds."""
    x, y = load_breast_cancer(return_X_y=True)
    x, y = x.astype(np.float32), y.astype(np.int32)
    told = {"Phlox": np.zeros((len(y), 2)), "scikit-learn": np.zeros((len(y), 2))}
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(x, y):
        told["Phlox"][test] = by_phlox(x[train], y[train], x[test], epochs=epochs)
        told["scikit-learn"][test] = by_scikit_learn(x[train].astype(float), y[train], x[test].astype(float))
    results = {}
    for name, p in told.items():
        results[name] = {"accuracy": float((p.argmax(1) == y).mean()), "log loss": float(log_loss(y, p))}
        print(f"{name:12}  accuracy {results[name]['accuracy']:.4f}  log loss {results[name]['log loss']:.4f}")
    return results


if __name__ == "__main__":
    main()
