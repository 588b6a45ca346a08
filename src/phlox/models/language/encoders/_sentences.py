"""Sentences as vectors: a model of text with the pooling that its folder says.

Source: Reimers and Gurevych, "Sentence-BERT: sentence embeddings using Siamese BERT-networks", 2019.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax

from phlox.core import Module, OptionError, RangeError, describe
from phlox.models._config import read_json
from phlox.models._hub import folder_of
from phlox.models._loading import load
from phlox.models.language._config import TRUNK
from phlox.models.language._model import TextModel, check_pooling
from phlox.weights import file_error, open_regular

_LONGEST = 1 << 20  # bytes of a config
_POOLINGS = {
    "mean": "mean", "mean_tokens": "mean", "cls": "first", "cls_token": "first", "max": "max", "max_tokens": "max",
    "lasttoken": "last",
}  # fmt: skip
_CHAINS = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


class SentenceEncoder(Module):
    """Texts to vectors, whose products are similarities: a model's features, pooled, and of length 1.

    Shapes:
        tokens, mask: (batch, time); y: (batch, features).

    Arguments:
        model: a model of text.
        pooling: ``"mean"``, ``"first"``, ``"last"`` or ``"max"`` of the tokens that count.
        normalise: whether vectors are divided by their length.
        longest: how many tokens of a text the model was made for; whoever cuts texts asks for it. None if not known.

    Options of a call:
        mask: True where a token counts; all by default.
        Others are those of the model's ``hidden_states``.

    Source: Reimers and Gurevych, "Sentence-BERT", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.models.create(px.models.BERTConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    ... ))
    >>> encoder = px.models.SentenceEncoder(model)
    >>> encoder(jnp.array([[1, 2, 0], [3, 4, 5]]), mask=jnp.array([[1, 1, 0], [1, 1, 1]])).shape
    (2, 16)
    """

    model: TextModel
    pooling: str
    normalise: bool
    longest: int | None

    def __init__(self, model: TextModel, *, pooling: str = "mean", normalise: bool = True, longest: int | None = None):
        if not isinstance(model, TextModel):
            fix = "pass one of px.models, such as px.models.load(folder)"
            raise OptionError("a model of text", got=describe(model), fix=fix, where="SentenceEncoder")
        self.model, self.pooling, self.normalise, self.longest = model, check_pooling(pooling), normalise, longest

    def __call__(self, tokens: jax.Array, *, mask: Any = None, **options: Any) -> jax.Array:
        return self.model.encode(tokens, mask=mask, pooling=self.pooling, normalise=self.normalise, **options)


def sentence_encoder(
    source: str | os.PathLike[str], *, dtype: Any = None, revision: str | None = None, key: Any = None
) -> SentenceEncoder:
    """A model of text with its pooling, from a folder as sentence-transformers writes it.

    ``modules.json`` says what follows on what: a transformer, a pooling, and whether vectors are divided by their
    length.

    Arguments:
        source: a folder, or the name of a repository on the hub, ``"sentence-transformers/all-MiniLM-L6-v2"``.
        dtype, revision, key: as ``px.models.load`` takes them.

    Raises:
        FileError: a file that is missing or cannot be read.
        RangeError: a module or a pooling that Phlox does not have.
        OptionError, StructureError, MissingExtraError: as ``px.models.load``.
    """
    folder = folder_of(source, revision)
    where = f"px.models.sentence_encoder({os.fspath(folder)!r})"
    steps = _steps(folder, where)
    settings = steps[0] / "sentence_bert_config.json"
    longest = _longest(_json(settings, where), where) if settings.exists() else None
    pooling = _pooling(_json(steps[1] / "config.json", where), where)
    model = load(steps[0], dtype=dtype, task=TRUNK, key=key)
    return SentenceEncoder(model, pooling=pooling, normalise=len(steps) > 2, longest=longest)


def _json(path: Path, where: str, kind: type[Any] = dict) -> Any:
    try:
        with open_regular(path) as file:
            return read_json(file.read(_LONGEST), where, kind)
    except OSError as error:
        raise file_error(error, path, where) from error


def _steps(folder: Path, where: str) -> list[Path]:
    """The folders of a transformer, of a pooling, and perhaps of a norm.

    Raises:
        RangeError: other modules, or a folder outside this one.
    """
    entries = [entry if isinstance(entry, dict) else {} for entry in _json(folder / "modules.json", where, list)]
    kinds = [str(entry.get("type")).rpartition(".")[2] for entry in entries]
    if kinds not in _CHAINS:
        fix = "load its model by px.models.load, and build what follows by hand"
        got = ", ".join(kinds)[:200] or "none"
        raise RangeError("modules Transformer, Pooling, and perhaps Normalize", got=got, fix=fix, where=where)
    paths = [folder / str(entry.get("path", "")) for entry in entries]
    if outside := [path for path in paths if not path.resolve().is_relative_to(folder.resolve())]:
        fix, got = "look at modules.json", str(outside[0])[:200]
        raise RangeError("folders of modules within this one", got=got, fix=fix, where=where)
    return paths


def _longest(entries: dict[str, Any], where: str) -> int | None:
    found = entries.get("max_seq_length")
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 1):
        fix = "look at sentence_bert_config.json"
        raise OptionError("max_seq_length as a whole number", got=repr(found)[:100], fix=fix, where=where)
    return found


def _pooling(entries: dict[str, Any], where: str) -> str:
    """The one pooling that is said: by name, or by flags as older folders have them.

    Raises:
        RangeError: several, none, or one that Phlox does not have.
    """
    flags = [
        name.removeprefix("pooling_mode_") for name, on in entries.items() if on is True and "pooling_mode_" in name
    ]
    named = entries.get("pooling_mode", flags)
    said = [str(name) for name in named] if isinstance(named, list) else [str(named)]
    if len(said) != 1 or said[0] not in _POOLINGS or entries.get("include_prompt") is False:
        fix = "load its model by px.models.load, and pool model.features by hand"
        got = ", ".join(said)[:200] or "none"
        got += ", without the prompt" if entries.get("include_prompt") is False else ""
        raise RangeError("one pooling among mean, cls, max and lasttoken", got=got, fix=fix, where=where)
    return _POOLINGS[said[0]]
