"""Well-known data sets by name."""

from __future__ import annotations

import dataclasses
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, overload
from urllib.parse import urlsplit

from phlox.core import PhloxError, RangeError
from phlox.data.fetching._remote import RemoteFile
from phlox.data.sets._known import SETS, KnownSet
from phlox.data.sets._reading import SPLITS, Pair, read_split

_ELSEWHERE = ("digits", "iris", "wine", "breast_cancer", "diabetes")


class Catalogue(dict[str, KnownSet]):
    """The data sets that are known by name; printed, a table of them."""

    def __repr__(self) -> str:
        rows: list[tuple[str, ...]] = [("name", "train", "test", "image", "MB", "licence", "home")]
        for name, known in self.items():
            shape = "×".join(map(str, known.shape))
            counts = (str(n) for n in known.sizes)
            rows.append((name, *counts, shape, f"{known.megabytes:.0f}", known.licence, known.home))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


@overload
def datasets(name: None = None) -> Catalogue: ...


@overload
def datasets(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    split: Literal["train", "test"],
    download: bool = True,
    mirror: str | None = None,
    coarse: bool = False,
    progress: bool | None = None,
) -> Pair: ...


@overload
def datasets(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    split: None = None,
    download: bool = True,
    mirror: str | None = None,
    coarse: bool = False,
    progress: bool | None = None,
) -> tuple[Pair, Pair]: ...


def datasets(
    name: str | None = None,
    root: str | os.PathLike[str] | None = None,
    *,
    split: Literal["train", "test"] | None = None,
    download: bool = True,
    mirror: str | None = None,
    coarse: bool = False,
    progress: bool | None = None,
) -> Catalogue | Pair | tuple[Pair, Pair]:
    """A well-known data set by its name, fetched once; without a name, which there are.

    ``(x, y), (x_test, y_test) = px.data.datasets("mnist")``, or one part by ``split``. Files are fetched from their
    makers or known mirrors, checked by SHA-256, and kept: a connection that breaks is taken up where it broke, by the
    next call too, and under its own name there is never a part of a file.

    Shapes:
        images: (n, height, width, channels) uint8, as they lie in the files, 0 … 255; labels: (n,) int32.

    Arguments:
        name: "mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100" or "svhn" (which takes SciPy).
        root: the folder with a folder for each set; by default what ``PHLOX_DATA`` says, else ``phlox/data`` in the
            user's cache folder.
        split: "train", "test", or None for both.
        download: whether to fetch what is not there.
        mirror: the address of a folder that has the files, instead of the known ones; the checksums stay.
        coarse: of CIFAR-100, the 20 groups of classes.
        progress: whether to show a bar; None shows it in a terminal.

    Raises:
        RangeError: an unknown name or split; coarse labels of another set; a mirror that is no address.
        FileError: no address gives the file, or the folder cannot be written; the message says what to put where.
        MissingFileError: a file that is not there, with ``download=False``.
        CorruptFileError: a file of another content.

    >>> import phlox as px
    >>> known = px.data.datasets()
    >>> known["fashion_mnist"].classes[:2], known["cifar10"].sizes, known["mnist"].licence
    (('T-shirt/top', 'Trouser'), (50000, 10000), 'CC BY-SA 3.0')

    Source: the sets' own pages, ``home`` in that table; sizes and checksums as TensorFlow Datasets publishes them.
    """
    if name is None:
        return Catalogue(SETS)
    name = _known_name(name)
    where, known = f"datasets({name!r})", SETS[name]
    if split is not None and split not in SPLITS:
        raise RangeError("split 'train', 'test' or None", got=repr(split), fix="choose one", where=where)
    if coarse and len(known.classes) != 100:
        raise RangeError("coarse=False", got="coarse=True", fix="only cifar100 has groups of classes", where=where)
    bases = None if mirror is None else _checked(mirror, where)
    folder = (_default_root() if root is None else Path(root).expanduser()) / name

    def place(file: RemoteFile) -> Path:
        from phlox.data.fetching._fetch import fetch  # what it stands on costs more to import than all of this room

        if bases is not None:
            file = dataclasses.replace(file, addresses=(bases + file.name,))
        return fetch(file, folder, where, progress=progress) if download else _there(file, folder, where)

    parts = [read_split(known, part, folder, place, coarse, where) for part in ((split,) if split else SPLITS)]
    return parts[0] if split else (parts[0], parts[1])


def _known_name(name: str) -> str:
    """The name of a set as the table has it; dashes, underscores and capitals do not count."""
    plain = {_plain(known): known for known in SETS}
    if isinstance(name, str) and _plain(name) in plain:
        return plain[_plain(name)]
    raise _unknown(name, plain)


def _unknown(name: object, plain: dict[str, str]) -> PhloxError:
    asked = _plain(name) if isinstance(name, str) else ""
    own = next((each for each in _ELSEWHERE if _plain(each) == asked), None)
    close = get_close_matches(asked, plain, 1, 0.6)
    if own is not None:
        fix = f"write px.data.{own}(), which comes with scikit-learn"
    elif close:
        fix = f"write {plain[close[0]]!r}"
    else:
        fix = "choose one, or read your files with px.data.ImageFolder, read_csv, read_webdataset or their like"
    return RangeError(f"a name among {', '.join(SETS)}", got=repr(name), fix=fix, where="datasets")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _checked(mirror: str, where: str) -> str:
    if not _is_folder(mirror):
        fix = "give the address of the folder that holds the files; files of your own go below root="
        raise RangeError(
            "a mirror that begins with http:// or https://, of a host and a path",
            got=repr(mirror),
            fix=fix,
            where=where,
        )
    return mirror.rstrip("/") + "/"


def _is_folder(mirror: object) -> bool:
    """Whether the address of a file follows from it: no query, no port that is none, no letters to be escaped."""
    if not isinstance(mirror, str) or not re.fullmatch(r"https?://[!-~]+", mirror):
        return False
    try:
        parts = urlsplit(mirror)
        return bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:  # what is no port, and no address of version 6
        return False


def _default_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("PHLOX_DATA") or Path(base) / "phlox" / "data").expanduser()


def _there(file: RemoteFile, folder: Path, where: str) -> Path:
    """The path of a file that is there and whole."""
    from phlox.weights import CorruptFileError, MissingFileError, file_error

    path = folder / file.name
    try:
        if file.is_whole(path):
            return path
        there = path.exists()
    except OSError as error:
        raise file_error(error, path, where) from error
    fix = f"leave download=False out, or put the file there: {file.size} bytes from {' or '.join(file.addresses)}"
    if there:
        raise CorruptFileError(f"{path} of SHA-256 {file.sha256}", got="another file", fix=fix, where=where)
    raise MissingFileError(f"{path} to exist", got="nothing, and download=False", fix=fix, where=where)
