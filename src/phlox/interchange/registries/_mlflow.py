"""Models in MLflow: a flavour ``phlox`` beside its ``python_function``, logged, registered, loaded, served."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import MissingExtraError, Module, RangeError, describe
from phlox.loop import predict
from phlox.weights import load, save

FLAVOR = "phlox"
LOADER = "phlox.interchange"  # stands in every file: MLflow calls its _load_pyfunc
FILE = "model.phlox"
_REQUIRED = ("jax", "jaxlib", "numpy")


class Flavor:
    """What MLflow asks of a flavour: to write a model into a folder."""

    @staticmethod
    def save_model(
        model: Module, path: str | Path, mlflow_model: Any = None, allow: Sequence[str] = (), **options: Any
    ) -> None:
        """Write a model, and what MLflow reads of it, into a new folder."""
        from mlflow import pyfunc  # pyright: ignore[reportMissingImports]  # an extra
        from mlflow.models import Model  # pyright: ignore[reportMissingImports]

        folder = Path(path)
        folder.mkdir(parents=True)
        save(model, folder / FILE)
        (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements()), "utf-8")
        (folder / "python_env.yaml").write_text(
            f"python: {platform.python_version()}\ndependencies:\n- -r requirements.txt\n", "utf-8"
        )
        made = Model() if mlflow_model is None else mlflow_model
        made.signature = options.get("signature") or made.signature
        made.add_flavor(FLAVOR, model=FILE, phlox_version=_version(FLAVOR), allow=list(allow))
        environment = {"virtualenv": "python_env.yaml"}
        pyfunc.add_to_model(made, loader_module=LOADER, python_env=environment, model_config={"allow": list(allow)})
        made.save(str(folder / "MLmodel"))


def log_to_mlflow(
    model: Module,
    name: str = "model",
    *,
    example: Any = None,
    run_id: str | None = None,
    register: str | None = None,
    uri: str | None = None,
    allow: Sequence[str] = (),
) -> Any:
    """Log a model to MLflow in the flavour ``phlox``, and register it where a name is given.

    ``mlflow models serve -m models:/NAME/VERSION --env-manager local`` serves it, and ``mlflow.pyfunc.load_model``
    loads it: it takes an array, a dict of arrays, or a frame of numbers, and answers as ``px.predict``.

    Arguments:
        model: a Module that ``px.save`` can write.
        name: of the model.
        example: an input, one row or more; its shapes and dtypes, and those of the answer, become the signature that
            a server holds requests to.
        run_id: of the run that trained it, ``logger.run_id``; else a run of its own is made.
        register: its name in the registry; each time another version.
        uri: of the tracking server; by default MLflow's own.
        allow: packages beside Phlox that the model names, which a server then imports.

    Returns:
        MLflow's ``ModelInfo``; its ``model_uri`` is what ``load_from_mlflow`` takes.

    Raises:
        MissingExtraError: MLflow is not installed.
        RangeError: what is no Module.
    """
    where = "px.interchange.log_to_mlflow"
    if not isinstance(model, Module):
        raise RangeError("a Module", got=describe(model), fix="pass the model itself", where=where)
    mlflow = _library(where)
    from mlflow.models import Model  # pyright: ignore[reportMissingImports]

    before = mlflow.get_tracking_uri()
    if uri is not None:
        mlflow.set_tracking_uri(uri)
    try:
        return Model.log(
            artifact_path=None,
            name=name,
            flavor=Flavor,
            model=model,
            allow=list(allow),
            run_id=run_id,
            registered_model_name=register,
            signature=None if example is None else signature(model, example),
        )
    finally:
        if uri is not None:
            mlflow.set_tracking_uri(before)


def load_from_mlflow(model_uri: str, *, uri: str | None = None, allow: Sequence[str] = ()) -> Any:
    """The Module that ``log_to_mlflow`` logged.

    Arguments:
        model_uri: ``models:/NAME/VERSION``, ``runs:/ID/NAME``, or a folder.
        uri: of the tracking server; by default MLflow's own.
        allow: packages beside Phlox that it may name, as for ``px.load``.

    Raises:
        MissingExtraError: MLflow is not installed.
        MissingFileError: there is a model, and not in this flavour.
    """
    mlflow = _library("px.interchange.load_from_mlflow")
    before = mlflow.get_tracking_uri()
    if uri is not None:
        mlflow.set_tracking_uri(uri)
    try:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=model_uri))
    finally:
        if uri is not None:
            mlflow.set_tracking_uri(before)
    return load(folder / FILE, allow=[FLAVOR, *allow])


def signature(model: Module, example: Any) -> Any:
    """Shapes and dtypes of an input and of its answer, as MLflow writes them down."""
    from mlflow.models import infer_signature  # pyright: ignore[reportMissingImports]

    answer = predict(model, _one_tree(example))
    return infer_signature(_as_numpy(example), _as_numpy(answer))


def requirements() -> list[str]:
    """What a machine must have to run the model: Phlox, and what it computes with, in the versions of here."""
    return [f"{package}=={_version(package)}" for package in (FLAVOR, *_REQUIRED) if _version(package) != "unknown"]


class Served:
    """A model as ``python_function`` calls it."""

    def __init__(self, model: Any):
        self.model = model

    def predict(self, data: Any, params: Any = None) -> Any:
        """The answer for each row of an array, a dict of arrays, or a frame of numbers."""
        del params
        if hasattr(data, "to_numpy"):
            data = data.to_numpy()
            data = data.astype(np.float32) if data.dtype.kind in "fO" else data
        return _as_numpy(predict(self.model, _one_tree(data)))


def load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> Served:
    """What MLflow calls to serve a model, by the name ``_load_pyfunc``."""
    allow = (model_config or {}).get("allow", ())
    return Served(load(Path(path) / FILE, allow=[FLAVOR, *allow]))


def _one_tree(data: Any) -> Any:
    """Data for ``px.predict``, which gives a model the first part of a tuple alone."""
    return {name: np.asarray(v) for name, v in data.items()} if isinstance(data, Mapping) else np.asarray(data)


def _as_numpy(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: np.asarray(value) for name, value in tree.items()}
    return np.asarray(tree)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _library(where: str) -> Any:
    try:
        import mlflow  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise MissingExtraError("MLflow", got="none", fix='pip install "phlox[mlflow]"', where=where) from None
    return mlflow
