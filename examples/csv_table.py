"""A table from a CSV file with categories and gaps, end to end: read, train, and predict for rows never seen.

Run it: ``python examples/csv_table.py``. The files are made of scikit-learn's diabetes data: the sex of a patient as
text, and every tenth entry lost. A linear model with scikit-learn's own filling-in stands beside it.
"""

import tempfile
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import phlox as px


def patients(gaps: float = 0.1) -> pd.DataFrame:
    """442 patients: nine numbers, a category, and how far the disease went in a year (``target``)."""
    frame = load_diabetes(as_frame=True, scaled=False).frame
    lost = np.random.default_rng(0).random(frame.shape) < gaps
    lost[:, frame.columns.get_loc("target")] = False
    return frame.assign(sex=frame["sex"].map({1.0: "one", 2.0: "two"})).mask(lost)


class Network(px.Module):
    """Numbers, marks of what is missing, and a vector for each category of each column, through one hidden layer."""

    def __init__(self, encoder: px.data.TableEncoder, width: int = 64):
        self.embeddings = {name: px.Embedding(size, 4) for name, size in encoder.sizes.items()}
        inputs = 2 * len(encoder.numbers) + 4 * len(self.embeddings)
        self.body = px.Chain(px.Dense(inputs, width, px.gelu), px.Dropout(0.3), px.Dense(width, 1))

    def __call__(self, x: dict[str, jax.Array]) -> jax.Array:
        """x as ``px.data.read_csv`` gives it, to a number for each row."""
        columns = zip(self.embeddings.values(), x["codes"].T, strict=True)
        vectors = [table(codes) for table, codes in columns]
        return self.body(px.concatenate(x["numbers"], x["missing"].astype(float), *vectors))[:, 0]


def by_phlox(train: Path, test: Path) -> tuple[np.ndarray, np.ndarray]:
    """Predictions for the rows of the test file, and what was true."""
    table = px.data.read_csv(train, target="target")
    new = px.data.read_csv(test, like=table)  # filled in and scaled by what the training file says
    print(table)
    px.seed(0)
    model, score = Network(table.encoder), px.data.Standardize.fit(table.y)
    px.fit(
        model,
        (table.x, score(table.y)),
        loss=px.losses.mse,
        optimizer=px.optim.AdamW(1e-3, weight_decay=0.1),
        epochs=40,
        progress=False,
    )
    return score.inverse(np.asarray(px.predict(model, new.x))), new.y


def by_scikit_learn(train: Path, test: Path) -> np.ndarray:
    """The same by ridge regression."""
    seen, new = pd.read_csv(train), pd.read_csv(test)
    numbers = [name for name in seen.columns if name not in ("sex", "target")]
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), ["sex"]),
    )
    return make_pipeline(columns, Ridge()).fit(seen, seen["target"]).predict(new)


def main() -> dict[str, float]:
    """Write the files, and print and return R² of both on the test file."""
    with tempfile.TemporaryDirectory() as folder:
        train, test = Path(folder, "train.csv"), Path(folder, "test.csv")
        for part, path in zip(px.data.splitobs(patients(), 0.7, seed=0), (train, test), strict=True):
            part.to_csv(path, index=False)
        told, true = by_phlox(train, test)
        results = {"Phlox": r2_score(true, told), "ridge": r2_score(true, by_scikit_learn(train, test))}
    for name, score in results.items():
        print(f"{name:6} R² {score:.3f} on {len(true)} patients")
    return results


if __name__ == "__main__":
    main()
