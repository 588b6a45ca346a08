"""TensorFlow Serving's ModelServerConfig: which models are served, and which of their versions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from phlox.core import OptionError
from phlox.serving._errors import InvalidRequestError
from phlox.serving.repository._policy import Policy
from phlox.serving.rpc._messages import tensorflow
from phlox.weights import file_error

_WHERE = "ModelServerConfig"


def policies_of(config: Any, source: Any) -> dict[str, Policy]:
    """The policies of a configuration by model.

    A model's ``base_path`` may be left out; it may not lead elsewhere than to the model's folder: what a client says
    opens no other file.

    Raises:
        InvalidRequestError: no list of models, one without a name or twice, another path, or a policy that is none.
    """
    if not config.HasField("model_config_list"):
        fix = "send model_config_list with every model that is to be served"
        raise InvalidRequestError("a list of models", got="none", fix=fix, where=_WHERE)
    found: dict[str, Policy] = {}
    for one in config.model_config_list.config:
        if not one.name or one.name in found:
            got, fix = repr(one.name)[:100] if one.name else "one without", "name each model once"
            raise InvalidRequestError("models by name", got=got, fix=fix, where=_WHERE)
        _check_path(one, source)
        found[one.name] = _policy(one)
    return found


def read_config(path: Path, source: Any) -> dict[str, Policy]:
    """The policies of a file, in protobuf's text format, as TensorFlow Serving's ``--model_config_file`` has it.

    Raises:
        FileError: it cannot be read.
        OptionError: it is no such file.
        InvalidRequestError: it says what ``policies_of`` refuses.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise file_error(error, path, _WHERE) from error
    try:
        config = text_format.Parse(text.decode("utf-8"), tensorflow().ModelServerConfig())
    except (text_format.ParseError, UnicodeError) as error:
        fix = "write model_config_list { config { name: 'digits' } }"
        raise OptionError("a ModelServerConfig as text", got=str(error)[:200], fix=fix, where=str(path)) from error
    return policies_of(config, source)


def _check_path(one: Any, source: Any) -> None:
    home = os.path.abspath(source / one.name) if isinstance(source, Path) else None  # nothing is opened to look at it
    if one.base_path and os.path.abspath(one.base_path) != home:
        got, fix = repr(one.base_path)[:200], "leave base_path out: models stand in the folder that is served"
        raise InvalidRequestError(f"the folder of {one.name[:100]}", got=got, fix=fix, where=_WHERE)


def _policy(one: Any) -> Policy:
    asked, where = one.model_version_policy, f"{_WHERE} {one.name[:100]}"
    if asked.latest.num_versions > 1:
        got, fix = str(asked.latest.num_versions), "name the versions: specific { versions: 3 versions: 4 }"
        raise InvalidRequestError("num_versions 1", got=got, fix=fix, where=where)
    versions: Any = "latest"
    if asked.HasField("all"):
        versions = "all"
    elif asked.HasField("specific"):
        versions = tuple(asked.specific.versions)
    return Policy(versions, dict(one.version_labels), where=where)
