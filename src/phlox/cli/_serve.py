"""phlox serve: models behind the protocols that clients speak."""

from __future__ import annotations

import os
import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import jax

from phlox.cli._export import read_spec
from phlox.core import OptionError, RangeError
from phlox.serving import Language, Limits, Recording, Redaction, Server, Tracing, Workers
from phlox.serving import is_name as is_name
from phlox.weights import file_error

WHERE = "phlox serve"
TOKEN, SALT = "PHLOX_SERVE_TOKEN", "PHLOX_LOG_SALT"
_RULE = re.compile(r"(.+)=(?:(drop|hash)|truncate:([1-9]\d{0,8}))")
_ASYNC = "jax_cpu_enable_async_dispatch"


def run_serve(options: Namespace) -> None:
    """Serve until SIGTERM or Ctrl-C; lines of JSON on standard error say what happens.

    Arguments:
        options: what the command line says.

    Raises:
        FileError: there is nothing to serve, or a file that cannot be read.
        RangeError: arguments that do not go together, or a port that is taken.
    """
    chosen = {
        "batch": options.max_batch, "queue": options.queue, "seconds": options.timeout,
        "client_requests": options.client_texts, "client_tokens": options.client_tokens,
    }  # fmt: skip
    limits = Limits(**{name: value for name, value in chosen.items() if value is not None})
    server = Server(
        options.source,
        host=options.host,
        port=options.port,
        grpc_port=options.grpc_port,
        limits=limits,
        inputs=dict(read_spec(text, WHERE) for text in options.input) or None,
        allow=options.allow,
        language=_language(options),
        memory=None if options.memory is None else bytes_of(options.memory),
        config=options.model_config,
        poll=options.poll,
        token=_tokens(options.token_file),
        certificate=options.certificate,
        key=options.key,
        journal=sys.stderr,
        requests=options.access_log,
        recording=_recording(options),
        tracing=None if options.traces is None else Tracing(options.traces, options.trace_sample),
    )
    jax.config.update(_ASYNC, False)  # whoever asks waits anyway; without a change of thread for less long
    (server if options.workers is None else Workers(server, options.workers)).run()


def _language(options: Namespace) -> Language:
    """How folders of models of text are served.

    Raises:
        RangeError: adapters without names, or two of one.
    """
    pairs = [text.partition("=") for text in options.adapter]
    named = {name: folder for name, _, folder in pairs}
    odd = [name for name, _, folder in pairs if not folder or not is_name(name)]
    if odd or len(named) < len(pairs):
        fix = "write --adapter poems=FOLDER, each by a name of its own"
        raise RangeError("adapters as NAME=FOLDER", got=", ".join(options.adapter)[:100], fix=fix, where=WHERE)
    cache = None if options.cache is None else bytes_of(options.cache, "--cache")
    return Language(
        slots=options.slots, room=options.room, memory=cache, dtype=options.dtype,
        adapters={name: Path(folder) for name, folder in named.items()},
    )  # fmt: skip


def _recording(options: Namespace) -> Recording | None:
    """Which requests are written into files.

    Raises:
        RangeError: a rule that is none.
        OptionError: rules for nothing, a pattern that is none, or a hash without a salt.
        FileError: the salt cannot be read.
    """
    rules = [_rule(text) for text in options.redact] + [Redaction(text=text) for text in options.redact_text]
    if options.log_requests is None:
        if rules:
            fix = "add --log-requests DIR"
            raise OptionError("rules for requests that are written", got="no folder", fix=fix, where=WHERE)
        return None
    salt = os.environ.get(SALT, "")
    if options.salt_file is not None:
        try:
            salt = options.salt_file.read_text("utf-8").strip()
        except OSError as error:
            raise file_error(error, options.salt_file, WHERE) from error
    return Recording(options.log_requests, options.sample, rules, salt)


def _rule(text: str) -> Redaction:
    found = _RULE.fullmatch(text)
    if found is None:
        fix = "write --redact user*=hash, --redact prompt=truncate:40"
        raise RangeError("a rule as NAME=drop, hash or truncate:N", got=repr(text)[:60], fix=fix, where=WHERE)
    name, action, keep = found.groups()
    if action is None:
        return Redaction(name, "truncate", int(keep))
    return Redaction(name, "hash" if action == "hash" else "drop")


def _tokens(path: Path | None) -> list[str] | None:
    """The tokens of a file, one a line, or that of the environment; the command line could be read by everybody."""
    if path is None:
        found = os.environ.get(TOKEN)
        return [found] if found else None
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise file_error(error, path, WHERE) from error


def bytes_of(text: str, option: str = "--memory") -> int:
    """Bytes as they are written on the command line.

    Raises:
        RangeError: something else.

    >>> bytes_of("2G"), bytes_of("512MB"), bytes_of("1024")
    (2147483648, 536870912, 1024)
    """
    plain = text.upper().removesuffix("IB").removesuffix("B")
    factor: Any = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}.get(plain[-1:], 1)
    number = plain if factor == 1 else plain[:-1]
    if not number.isdecimal() or not int(number):
        raise RangeError(f"{option} such as 4G", got=repr(text)[:40], fix="write 512M, 4G", where=WHERE)
    return int(number) * factor
