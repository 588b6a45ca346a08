"""Folders of images, a folder for each class, decoded when they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phlox.core import RangeError, StructureError
from phlox.data._observations import whole
from phlox.data.readers._files import FilePath, corrupt, extra
from phlox.data.readers._pixels import FORMATS, UndecodableError, decoded

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_FORMATS = (*FORMATS, "GIF", "TIFF")
_BILINEAR = 2  # Pillow's number
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


class ImageFolder:
    """The images below a folder, whose sub-folders are the classes; each is decoded when it is read.

    ``folder[i]`` is an image and its class. Classes are in the order of their names, and images in the order of
    theirs, so that numbers are the same everywhere. An image is turned upright as its camera says.

    Shapes:
        image: (height, width, channels) float32 in [0, 1]; label: () int32.

    Arguments:
        path: the folder, such as one with ``cat/1.png`` and ``dog/2.jpg``.
        size: (height, width) that each image is resized to, bilinearly, or None, as it is.
        mode: "RGB", "L" for grey, or "RGBA".

    Raises:
        StructureError: no sub-folder, or none with an image. RangeError: another mode, a size below 1.
        MissingExtraError: Pillow is not installed. CorruptFileError: from reading, an image that cannot be decoded,
        or has more than 8 bits a channel.

    >>> import pathlib, tempfile, numpy as np, phlox as px
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name, level in (("day", 255), ("night", 0)):
    ...         pathlib.Path(root, name).mkdir()
    ...         Image.new("RGB", (20, 10), (level,) * 3).save(pathlib.Path(root, name, "1.png"))
    ...     images = px.data.ImageFolder(root, size=(8, 8))
    ...     x, y = next(iter(px.DataLoader(images, 2)))
    >>> images.classes, x.shape, x.mean(axis=(1, 2, 3)).tolist(), y.tolist()
    (('day', 'night'), (2, 8, 8, 3), [1.0, 0.0], [0, 1])
    """

    path: Path
    mode: str
    size: tuple[int, int] | None

    def __init__(self, path: FilePath, *, size: tuple[int, int] | None = None, mode: str = "RGB"):
        where, self.path, self.mode = "ImageFolder", Path(path), mode
        if mode not in _CHANNELS:
            raise RangeError(f"mode among {', '.join(_CHANNELS)}", got=repr(mode), fix="choose one", where=where)
        self.size = None if size is None else (whole(where, "height", size[0]), whole(where, "width", size[1]))
        extra("PIL.Image", "pillow", "images", where)
        folders = sorted(p for p in self.path.iterdir() if p.is_dir() and not p.name.startswith("."))
        found = {f.name: sorted(p for p in f.rglob("*") if p.suffix.lower() in _SUFFIXES) for f in folders}
        self.classes: tuple[str, ...] = tuple(found)
        self.paths: list[Path] = [p for paths in found.values() for p in paths]
        self.labels: np.ndarray = np.repeat(
            np.arange(len(found), dtype=np.int32), [len(paths) for paths in found.values()]
        )
        empty = [name for name, paths in found.items() if not paths]
        if empty or not found:
            fix = f"put the images of each class into a folder of its own below {self.path.name!r}"
            got = f"no image in {', '.join(map(repr, empty[:3]))}" if empty else "no sub-folder"
            raise StructureError("sub-folders with images", got=got, fix=fix, where=where)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.int32]:
        return self._decoded(self.paths[i]), self.labels[i]

    def __repr__(self) -> str:
        return f"ImageFolder({self.path.name!r}, {len(self)} images of {len(self.classes)} classes)"

    def _decoded(self, path: Path) -> np.ndarray:
        try:
            image = decoded(path, self.mode, _FORMATS, "ImageFolder")
        except UndecodableError as error:
            expected, _, got = str(error).partition(": ")
            raise corrupt(expected, got, path, "ImageFolder", error.fix) from None
        if self.size is not None:
            image = image.resize(self.size[::-1], _BILINEAR)
        array = np.asarray(image, np.float32) / np.float32(255)
        return array.reshape(*array.shape[:2], _CHANNELS[self.mode])
