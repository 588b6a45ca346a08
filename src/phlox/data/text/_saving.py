"""A tokenizer as the files that transformers reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phlox.core import StructureError
from phlox.data.text._settings import Settings, content
from phlox.weights import file_error, replacing

# What stands in other files, or is in tokenizer.json already.
_ELSEWHERE = ("add_bos_token", "add_eos_token", "chat_template", "added_tokens_decoder", "additional_special_tokens")


def files_of(tokenizer: Any, settings: Settings, where: str) -> dict[str, str]:
    """The text of each file by its name below the folder.

    Raises:
        StructureError: a template whose name is no file name.
    """
    kept = {name: entry for name, entry in settings.entries.items() if name not in _ELSEWHERE}
    special = {
        (name if name.endswith("_token") else f"{name}_token"): content(t) for name, t in settings.special.items()
    }
    extra = {"extra_special_tokens": [content(token) for token in settings.extra]} if settings.extra else {}
    return {
        "tokenizer.json": tokenizer.to_str(pretty=True),
        "special_tokens_map.json": _json({**special, **extra}),
        "tokenizer_config.json": _json({"tokenizer_class": "PreTrainedTokenizerFast", **kept, **special, **extra}),
        **{_template_file(name, where): template for name, template in settings.templates.items()},
    }


def _template_file(name: str, where: str) -> str:
    if not re.fullmatch(r"[\w-]+", name):
        fix = "name templates by letters, digits, - and _"
        raise StructureError("a name of a template that is a file name", got=repr(name), fix=fix, where=where)
    return "chat_template.jinja" if name == "default" else f"additional_chat_templates/{name}.jinja"


def write_files(folder: Path, files: Mapping[str, str], where: str) -> None:
    """Write each file whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise file_error(error, path.parent, where) from error
        with replacing(path, where=where) as temporary:
            temporary.write_bytes(text.encode())


def _json(entries: Mapping[str, Any]) -> str:
    return json.dumps(entries, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
