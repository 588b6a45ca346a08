"""ImagePreprocessor: the steps in their order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import ShapeError, describe
from phlox.models.preprocessing import _images
from phlox.models.preprocessing._checks import checked
from phlox.models.preprocessing._config import fields_of
from phlox.models.preprocessing._resize import LARGEST, resized
from phlox.models.preprocessing._sizes import by_ratio, by_shorter_edge, crop_start
from phlox.models.preprocessing._writing import config_of

_WHERE = "ImagePreprocessor"


@dataclass(frozen=True)
class ImagePreprocessor:
    r"""Images as a model wants them: resized, cropped, in its order of channels, normalised, padded.

    $y = (a\,x + b - \mu) / \sigma$ for each channel, where x is the image of 8 bits, resized and cropped. It holds no
    arrays, is compared by value, and may be an argument of any transform, or exported within a function.

    Shapes:
        images: (height, width, channels) or (batch, height, width, channels) uint8, one image of Pillow's, or a list of
            images of any sizes. y: (batch, height', width', channels) float32; the batch of one image is 1.

    Arguments:
        size: an edge in pixels that the shorter edge becomes, or (height, width), or None, as it is.
        longest: with an edge as ``size``, what the longer edge is at most, in pixels.
        fit: with (height, width) as ``size``: "stretch", or its own ratio, to "cover" the size or to be "contain"ed.
        method: the filter of ``px.models.resize``.
        antialias: whether it is stretched where the image shrinks.
        crop: (height, width) of the middle that is kept; what a smaller image lacks is filled.
        crop_rounding: where half a pixel decides: "floor" as transformers, "even" as torchvision and timm.
        fill: a value from 0 to 255 for what is filled, or one for each channel.
        order: "rgb", or "bgr" for a model that wants the channels reversed.
        rescale: the factor a, or None for 1.
        offset: the summand b.
        mean, std: $\mu$ and $\sigma$ for each channel, or None, not normalised.
        std_twice: divide by $\sigma$ once more, as some EfficientNets want it.
        pad: (height, width) that the result is filled up to with zeros below and to the right, "largest", the largest
            of the batch, or None.
        convert_rgb: whether grey is repeated and transparency laid on white; else such images are refused.

    Raises:
        RangeError: from construction, a value that cannot be. DtypeError: from the call, no 8-bit images; those of 0 to
        1 are told apart. ShapeError: other axes or channels, sizes that do not stack, images too small or too large.

    Source: transformers' image processors in their Pillow form; timm's transforms for evaluation.

    >>> import numpy as np, phlox as px
    >>> pre = px.models.ImagePreprocessor(size=2, crop=(2, 2), mean=(0.5,), std=(0.5,))
    >>> pre(np.array([[0, 0, 255, 255]] * 2, "uint8")[..., None]).ravel().tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """

    size: int | tuple[int, int] | None = None
    longest: int | None = None
    fit: str = "stretch"
    method: str = "bilinear"
    antialias: bool = True
    crop: tuple[int, int] | None = None
    crop_rounding: str = "floor"
    fill: int | tuple[int, ...] = 0
    order: str = "rgb"
    rescale: float | None = 1 / 255
    offset: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    std_twice: bool = False
    pad: tuple[int, int] | str | None = None
    convert_rgb: bool = False

    def __post_init__(self) -> None:
        for name, value in checked(dataclasses.asdict(self)).items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | str | PathLike[str]) -> Self:
        """The preprocessor that a config describes, of Hugging Face or of timm.

        Arguments:
            config: the content of a ``preprocessor_config.json`` or of timm's ``pretrained_cfg``, the path of a file
                with it, or a folder with such a file.

        Raises:
            RangeError: a type of processor, or an entry that changes the numbers, that is not known here; a value that
            cannot be. MissingFileError, CorruptFileError: no such file; not JSON.

        Source: ``preprocessor_config.json`` of transformers 2 to 5, and ``pretrained_cfg`` of timm 1.

        >>> import phlox as px
        >>> config = {"image_processor_type": "ViTImageProcessor", "size": 224, "resample": 2}
        >>> px.models.ImagePreprocessor.from_config(config).size
        (224, 224)
        """
        return cls(**fields_of(config))

    def to_config(self) -> dict[str, Any]:
        """A config that transformers, or timm, reads as the same numbers, and ``from_config`` as the same object.

        Raises:
            RangeError: no type of processor says what this one does.

        >>> import phlox as px
        >>> px.models.ImagePreprocessor(size=(224, 224)).to_config()["image_processor_type"]
        'BitImageProcessor'
        """
        return config_of(dataclasses.asdict(self))

    def __call__(self, images: Any) -> jax.Array:
        return self._run(images, masked=False)[0]

    def with_mask(self, images: Any) -> tuple[jax.Array, jax.Array]:
        """As the call, and where the pictures are: (batch, height', width') int32, 1 there and 0 where padded.

        >>> import numpy as np, phlox as px
        >>> y, mask = px.models.ImagePreprocessor(pad=(2, 3)).with_mask(np.full((1, 2, 3), 255, "uint8"))
        >>> y[0, ..., 0].tolist(), mask[0].tolist()
        ([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[1, 1, 0], [0, 0, 0]])
        """
        y, mask = self._run(images, masked=True)
        return y, jnp.asarray(mask)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height', width') of an image of this size, before it is padded to the largest of a batch.

        >>> import phlox as px
        >>> px.models.ImagePreprocessor(size=800, longest=1333).output_size(480, 640)
        (800, 1066)
        """
        return self.pad if isinstance(self.pad, tuple) else self.crop or self._resized_size((height, width))

    def _resized_size(self, old: tuple[int, int]) -> tuple[int, int]:
        if self.size is None:
            return old
        if isinstance(self.size, int):
            return by_shorter_edge(old, self.size, self.longest)
        return self.size if self.fit == "stretch" else by_ratio(old, self.size, self.fit)

    def _run(self, images: Any, masked: bool) -> tuple[jax.Array, Any]:
        given = list(images) if isinstance(images, list | tuple) else [images]
        if not given:
            raise ShapeError("at least one image", got="none", fix="give some", where=_WHERE)
        parts = [self._checked(image) for image in given]
        batches = [_compiled(self, x) if isinstance(x, jax.Array) else _prepared(np, self, x) for x in parts]
        size = self._common(batches)
        y = jnp.concatenate([_padded(x, size) for x in batches]) if len(batches) > 1 else _padded(batches[0], size)
        return jnp.asarray(y), self._mask(batches, size) if masked else None

    def _checked(self, image: Any) -> Any:
        """An image or a batch, as a batch of the right channels."""
        x = _images.as_array(image, self.convert_rgb)
        x = x if x.ndim == 4 else x[None]
        if self.convert_rgb and x.shape[-1] in (1, 4):
            x = _images.as_rgb(jnp if isinstance(x, jax.Array) else np, x)
        _images.check_channels(x, self._channels())
        return x

    def _channels(self) -> tuple[int, ...]:
        if self.mean is not None and len(self.mean) > 1:
            return (len(self.mean),)
        return (3,) if self.convert_rgb or self.order == "bgr" or isinstance(self.fill, tuple) else (1, 3)

    def _common(self, batches: list[Any]) -> tuple[int, int]:
        """The size that all are padded to."""
        sizes = {x.shape[1:3] for x in batches}
        largest = max(h for h, _ in sizes), max(w for _, w in sizes)
        size = self.pad if isinstance(self.pad, tuple) else largest
        if self.pad is None and len(sizes) > 1:
            fix = 'give a crop, a size=(height, width), or pad="largest"'
            raise ShapeError("images that come out in one size", got=str(sorted(sizes)), fix=fix, where=_WHERE)
        if size[0] < largest[0] or size[1] < largest[1]:
            raise ShapeError(f"images of {size} at most", got=str(largest), fix="give a larger pad", where=_WHERE)
        return size

    def _mask(self, batches: list[Any], size: tuple[int, int]) -> Any:
        ones = [jnp.ones(x.shape[:3], jnp.int32) if isinstance(x, jax.Array) else _ones(x) for x in batches]
        padded = [_padded(mask[..., None], size)[..., 0] for mask in ones]
        return jnp.concatenate(padded) if len(padded) > 1 else padded[0]


def _ones(x: np.ndarray) -> np.ndarray:
    return np.ones(x.shape[:3], np.int32)


@partial(jax.jit, static_argnums=0)
def _compiled(pre: ImagePreprocessor, x: jax.Array) -> jax.Array:
    return _prepared(jnp, pre, x)


def _prepared(xp: Any, pre: ImagePreprocessor, x: Any) -> Any:
    """(batch, height, width, channels) uint8, all steps but the padding; ``xp`` is NumPy for NumPy's arrays."""
    old: tuple[int, int] = x.shape[1:3]
    size = pre._resized_size(old)
    if not 1 <= min(size) <= max(size) <= LARGEST:
        fix = "give images that are less long, or a size=(height, width)"
        got = f"{describe(x)}, which would become {size[0]} by {size[1]}"
        raise ShapeError(f"images that get edges of 1 to {LARGEST} pixels", got=got, fix=fix, where=_WHERE)
    if size != old:
        x = resized(x, size, pre.method, pre.antialias)
    if pre.crop is not None:
        x = _cropped(xp, x, pre)
    if pre.order == "bgr":
        x = x[..., ::-1]
    return _normalised(x.astype(np.float32), pre)


def _cropped(xp: Any, x: Any, pre: ImagePreprocessor) -> Any:
    assert pre.crop is not None
    kept, widths = [], []
    for old, new in zip(x.shape[1:3], pre.crop, strict=True):
        start = crop_start(old, new, pre.crop_rounding)
        kept.append(slice(max(start, 0), start + new))
        widths.append((max(-start, 0), max(start + new - old, 0)))
    x = x[:, kept[0], kept[1]]
    return x if widths == [(0, 0), (0, 0)] else _filled(xp, x, widths, pre.fill)


def _filled(xp: Any, x: Any, widths: Any, fill: int | tuple[int, ...]) -> Any:
    """The image with ``fill`` around it."""
    if isinstance(fill, int):
        return xp.pad(x, ((0, 0), *widths, (0, 0)), constant_values=fill)
    planes = [xp.pad(x[..., c], ((0, 0), *widths), constant_values=value) for c, value in enumerate(fill)]
    return xp.stack(planes, axis=-1)


def _normalised(y: Any, pre: ImagePreprocessor) -> Any:
    if pre.rescale is not None:
        y = y * np.float32(pre.rescale)
    if pre.offset:
        y = y + np.float32(pre.offset)
    if pre.mean is not None:
        y = (y - np.asarray(pre.mean, np.float32)) / np.asarray(pre.std, np.float32)
    return y / np.asarray(pre.std, np.float32) if pre.std_twice else y


def _padded(y: Any, size: tuple[int, int]) -> Any:
    """Filled up with zeros, below and to the right."""
    below, right = size[0] - y.shape[1], size[1] - y.shape[2]
    xp = jnp if isinstance(y, jax.Array) else np
    return xp.pad(y, ((0, 0), (0, below), (0, right), (0, 0))) if below or right else y
