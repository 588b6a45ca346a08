"""Adapters: a few new weights beside a model whose own stay as they are.

_making                  px.adapt.lora, dora, ia3, prefix: adapters with fresh weights
_switching _merging      which are in use; computed into weights, and weights given back
_choosing _attaching     which layers are meant; adapters put into them
_arithmetic              what adapters add to a map, and what they make of its weight
layers/                  the adapters, and layers with adapters in them
peft/                    files in PEFT's format, both ways
"""

from typing import TYPE_CHECKING

from phlox.adapt._making import dora, ia3, lora, prefix
from phlox.adapt._merging import merge, unmerge

# Names imported as themselves serve the rooms above, and files, which name classes so; they are not in __all__.
from phlox.adapt._merging import plain as plain
from phlox.adapt._switching import Part, Report, adapters, remove, use
from phlox.adapt.layers._changes import IA3, LoRA
from phlox.adapt.layers._embedding import AdaptedEmbedding as AdaptedEmbedding
from phlox.adapt.layers._linear import AdaptedConv as AdaptedConv
from phlox.adapt.layers._linear import AdaptedDense as AdaptedDense
from phlox.adapt.layers._prefix import AdaptedAttention as AdaptedAttention
from phlox.adapt.layers._prefix import Prefix, prefix_length
from phlox.adapt.layers._prefix import PrefixedCache as PrefixedCache
from phlox.adapt.layers._whole import AdaptedWhole as AdaptedWhole
from phlox.adapt.layers._whole import Trained as Trained
from phlox.adapt.peft._loading import load
from phlox.adapt.peft._saving import save
from phlox.core import Where
from phlox.core import unknown_name as _unknown_name

__all__ = [
    "IA3",
    "LoRA",
    "Part",
    "Prefix",
    "Report",
    "Where",
    "adapters",
    "dora",
    "ia3",
    "load",
    "lora",
    "merge",
    "prefix",
    "prefix_length",
    "remove",
    "save",
    "unmerge",
    "use",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
