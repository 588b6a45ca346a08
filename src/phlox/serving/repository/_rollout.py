"""Which version has which share of the requests, changed while the server runs, and put back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from phlox.core import OptionError
from phlox.serving._errors import InvalidRequestError, UnavailableError, UnknownModelError
from phlox.serving.repository._guard import Tallies, added
from phlox.serving.repository._layout import POLICY, find_models
from phlox.serving.repository._model import Model
from phlox.serving.repository._policy import Policy, numbered, read_policy
from phlox.serving.repository._repository import Repository
from phlox.weights import file_error, replacing

KEEP: Any = object()
"""In place of a guard: the one that there is."""


class Verdict(NamedTuple):
    """A version that is to lose its share, and why."""

    model: str
    version: int
    why: str


async def roll_out(repository: Repository, name: str, weights: Mapping[Any, Any], guard: Any = KEEP) -> None:
    """Give versions of a model shares of its requests, once all of them are loaded.

    They are written into ``config.json`` beside the versions, so that they hold after a restart too. The version that
    had all requests before is the one that a rollback goes to.

    Arguments:
        repository: the models.
        name: of the model.
        weights: shares by version.
        guard: bounds, as JSON has them; None for none.

    Raises:
        UnknownModelError: there is no such model or version.
        UnavailableError: a version cannot be loaded; shares stay as they were.
        InvalidRequestError: its shares are not a matter of its folder, or are none.
        FileError: the folder cannot be written.
    """
    model, home = repository.find(name), _home(repository, name)
    shares, where = numbered(weights), f"rollout of {name}"
    found = find_models(home.parent, where).get(name, {})
    if missing := [n for n in shares if n not in found]:
        there = ", ".join(map(str, found)) or "none"
        fix = "put it into the folder first"
        raise UnknownModelError(f"versions among {there}", got=repr(missing[0])[:50], fix=fix, where=where)

    def edit(old: Policy) -> dict[str, Any]:
        try:
            new = Policy.of({**old.told(), "weights": {str(n): w for n, w in shares.items()}, "note": ""}, where)
            had = old.sole if old.weights else max(model.available(), default=None)
            back = had if had is not None and had != new.sole else old.rollback
            told = {**new.told(), **({} if back is None else {"rollback": back})}
            if guard is not KEEP:
                told.pop("guard", None)
            return Policy.of({**told, **({} if guard in (KEEP, None) else {"guard": guard})}, where).told()
        except OptionError as error:
            raise InvalidRequestError(error.expected, got=error.got, fix=error.fix, where=where) from error

    before = _edited(home, edit)
    await repository.refresh(again=True)
    there = model.available()
    if failed := [n for n, w in shares.items() if w > 0 and n not in there]:
        _edited(home, lambda _: before)
        why = model.versions[failed[0]].error if failed[0] in model.versions else "not there"
        await repository.renew()
        got = f"{failed[0]}: {why}"[:500]
        raise UnavailableError(
            "versions that can be loaded", got=got, fix="correct it; shares are as they were", where=where
        )
    await repository.renew()
    repository.tell("rolled out", {"model": name, "weights": {str(n): w for n, w in shares.items()}})


async def roll_back(repository: Repository, name: str, why: str = "asked for") -> bool:
    """Give all requests of a model to the version that had them before; whether that changed anything.

    Raises:
        UnknownModelError: there is no such model, or the version is gone.
        InvalidRequestError: nothing was rolled out.
        FileError: the folder cannot be written.
    """
    repository.find(name)
    home, where = _home(repository, name), f"rollback of {name}"
    changed: list[int] = []

    def edit(old: Policy) -> dict[str, Any]:
        back = old.rollback
        if back is None:
            fix = f"POST /v2/repository/models/{name}/rollout first"
            raise InvalidRequestError("a version to go back to", got="none", fix=fix, where=where)
        if back not in find_models(home.parent, where).get(name, {}):
            fix = "put it into the folder again"
            raise UnknownModelError(f"version {back}", got="none of it", fix=fix, where=where)
        if old.sole == back:
            return old.told()
        changed.append(back)
        return {**old.told(), "weights": {str(back): 1}, "note": f"rolled back: {why}"}

    _edited(home, edit)
    if changed:
        await repository.renew()
        repository.tell("rolled back", {"model": name, "to": changed[0], "why": why})
    return bool(changed)


def verdicts(repository: Repository, counted: Iterable[Tallies]) -> Iterator[Verdict]:
    """Versions that are worse than their guard allows, by what all processes counted."""
    several = list(counted)
    for model in repository.models.values():
        guard, back = model.policy.guard, model.policy.rollback
        if guard is None or back is None:
            continue
        for number in model.shares():
            why = guard.verdict(added(several, model.name, model.policy.since, number))
            if number != back and why is not None:
                yield Verdict(model.name, number, f"version {number}: {why}")
                break


def tallies(repository: Repository) -> dict[str, Any]:
    """What this process counted of models with a guard, for JSON."""
    return {
        model.name: {"since": model.policy.since, "counts": {str(n): t.counts() for n, t in model.tallies.items()}}
        for model in repository.models.values()
        if model.policy.guard is not None
    }


def told_of(model: Model, counted: Iterable[Tallies]) -> dict[str, Any]:
    """How a model's requests are shared, and how its versions do."""
    several, shares, policy = list(counted), model.shares(), model.policy
    versions = {}
    for number, version in sorted(model.versions.items()):
        counts = added(several, model.name, policy.since, number)
        told = {"state": version.state.value, "share": round(shares.get(number, 0.0), 6)}
        versions[str(number)] = told if policy.guard is None else {**told, **counts._asdict()}
    named = {key: value for key, value in policy.told().items() if key in ("weights", "guard", "rollback", "note")}
    return {"name": model.name, **named, "versions": versions}


def _home(repository: Repository, name: str) -> Path:
    """The folder of a model, whose file says what is served.

    Raises:
        InvalidRequestError: another rule holds.
    """
    source = repository.source
    if not isinstance(source, Path) or not (source / name).is_dir():
        fix = "serve a folder of models, NAME/VERSION/"
        raise InvalidRequestError("a model with versions in a folder", got=name, fix=fix, where="rollout")
    if repository.configured is not None:
        fix = "leave ReloadConfig and --model-config"
        raise InvalidRequestError("a model whose config.json holds", got="a configuration", fix=fix, where="rollout")
    return source / name


def _edited(home: Path, edit: Callable[[Policy], Mapping[str, Any]]) -> dict[str, Any]:
    """Change what is said in a model's folder, whole or not at all; gives what was said before."""
    try:
        with _alone(home):
            old = read_policy(home)
            new = dict(edit(old))
            if new != old.told():
                with replacing(home / POLICY, where="rollout") as fresh:
                    fresh.write_text(json.dumps(new, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise file_error(error, home / POLICY, "rollout") from error
    return old.told()


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep other processes of this machine from changing a folder's policy, where the file system can."""
    import fcntl  # which Windows has not

    number = os.open(home, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
