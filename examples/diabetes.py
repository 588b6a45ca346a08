"""Progression of diabetes a year ahead, from ten measurements: beside scikit-learn's own network, on the same folds.

Run it: ``python examples/diabetes.py``. Each is asked ten times, about a tenth that it did not see.
"""

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import phlox as px


def by_phlox(x: np.ndarray, y: np.ndarray, unseen: np.ndarray, *, epochs: int) -> np.ndarray:
    """Train on patients x with scores y; the scores of unseen ones. The network sees standardised numbers only."""
    px.seed(0)
    inputs, scores = px.data.Standardize.fit(x), px.data.Standardize.fit(y)
    model = px.Chain(inputs, px.Dense(10, 64, px.gelu), px.Dropout(0.3), px.Dense(64, 1), lambda h: h[:, 0])
    px.fit(
        model,
        (x, scores(y)),
        loss=px.losses.mse,
        optimizer=px.optim.AdamW(1e-3, weight_decay=0.1),
        epochs=epochs,
        progress=False,
    )
    return np.asarray(scores.inverse(px.predict(model, unseen)))


def by_scikit_learn(x: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """The same by MLPRegressor, which also sees standardised numbers only, and stops where it learns no more."""
    network = MLPRegressor(random_state=0, early_stopping=True, max_iter=2000)
    model = TransformedTargetRegressor(make_pipeline(StandardScaler(), network), transformer=StandardScaler())
    return model.fit(x, y).predict(unseen)


def main(folds: int = 10, epochs: int = 40) -> dict[str, dict[str, float]]:
    """Print and return R² and the mean absolute error of both over all folds."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    x, y = x.astype(np.float32), y.astype(np.float32)
    told = {"Phlox": np.zeros(len(y)), "scikit-learn": np.zeros(len(y))}
    for train, test in KFold(folds, shuffle=True, random_state=0).split(x):
        told["Phlox"][test] = by_phlox(x[train], y[train], x[test], epochs=epochs)
        told["scikit-learn"][test] = by_scikit_learn(x[train], y[train], x[test])
    results = {}
    for name, p in told.items():
        results[name] = {"R²": float(r2_score(y, p)), "error": float(mean_absolute_error(y, p))}
        print(f"{name:12}  R² {results[name]['R²']:.4f}  mean absolute error {results[name]['error']:.2f}")
    return results


if __name__ == "__main__":
    main()
