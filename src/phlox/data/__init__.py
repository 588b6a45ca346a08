"""Data: observations counted, taken, split, folded, batched, scaled and loaded; files of tables, images and digits.

Data is an array, a pandas frame, a list, a dataset (anything with a length and an index), or a tuple or dict of such
side by side; the first axis counts observations. Whatever is random takes ``seed=``, a whole number or a JAX key, and
gives the same on every machine; without one, the order stays.

_observations      what counts as data, and how to take some of it; read it first
_splits _folds     parts of it; cross-validation
_shuffling         orders that a seed decides
_batches           observations stacked, and sequences padded
_scaling           by statistics of the training data
_fingerprint       what tells one set of data from another
loading/           px.DataLoader: batches in an order by the seed, from any position
augmentation/      batches changed at random on the device
readers/           files, and objects of other libraries
fetching/          files of known checksum from the network
sets/              well-known data sets by name
text/              texts as tokens, chats, packing, words counted: px.data.text
validate/          what is in data, what is expected of it, whether it moved: px.data.validate
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.data import text, validate
from phlox.data._batches import Padded, batch, batch_sequences, unbatch, unbatch_sequences
from phlox.data._fingerprint import Fingerprint, fingerprint
from phlox.data._folds import kfolds, leave_p_out, time_series_folds
from phlox.data._observations import ObsView, filterobs, getobs, joinobs, mapobs, numobs, sliding_windows
from phlox.data._scaling import Normalize, Standardize
from phlox.data._shuffling import group_indices, groupobs, oversample, shuffleobs, undersample
from phlox.data._splits import chunk, splitobs
from phlox.data.augmentation._augment import Augment, Augmentation
from phlox.data.augmentation._color import ColorJitter, GaussianBlur, Grayscale
from phlox.data.augmentation._geometry import Cutout, RandomAffine, RandomCrop, RandomErasing, RandomFlip
from phlox.data.augmentation._mixing import CutMix, MixUp
from phlox.data.augmentation._policy import RandAugment
from phlox.data.augmentation._sequences import FrequencyMask, TimeMask, TokenMask
from phlox.data.loading._loader import DataLoader

# For the rooms above, and no user's business: not in __all__.
from phlox.data.loading._sources import PartlyRead as PartlyRead
from phlox.data.loading._sources import Stream as Stream
from phlox.data.loading._sources import source_of as source_of
from phlox.data.readers._cifar import read_cifar
from phlox.data.readers._foreign import batches_of as batches_of
from phlox.data.readers._foreign import has_own_order as has_own_order
from phlox.data.readers._foreign import is_from as is_from
from phlox.data.readers._foreign import native as native
from phlox.data.readers._foreign import native_batches as native_batches
from phlox.data.readers._foreign import refuse_kind as refuse_kind
from phlox.data.readers._idx import read_idx
from phlox.data.readers._image_folder import ImageFolder
from phlox.data.readers._known_sets import breast_cancer, diabetes, digits, iris, wine
from phlox.data.readers._table_encoder import TableEncoder
from phlox.data.readers._tables import Table, read_csv, read_parquet
from phlox.data.readers.shards._array_record import read_array_record
from phlox.data.readers.shards._tfrecord import read_tfrecord
from phlox.data.readers.shards._webdataset import read_webdataset
from phlox.data.sets._datasets import datasets

__all__ = [
    "Augment",
    "Augmentation",
    "ColorJitter",
    "CutMix",
    "Cutout",
    "DataLoader",
    "Fingerprint",
    "FrequencyMask",
    "GaussianBlur",
    "Grayscale",
    "ImageFolder",
    "MixUp",
    "Normalize",
    "ObsView",
    "Padded",
    "RandAugment",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "Standardize",
    "Table",
    "TableEncoder",
    "TimeMask",
    "TokenMask",
    "batch",
    "batch_sequences",
    "breast_cancer",
    "chunk",
    "datasets",
    "diabetes",
    "digits",
    "filterobs",
    "fingerprint",
    "getobs",
    "group_indices",
    "groupobs",
    "iris",
    "joinobs",
    "kfolds",
    "leave_p_out",
    "mapobs",
    "numobs",
    "oversample",
    "read_array_record",
    "read_cifar",
    "read_csv",
    "read_idx",
    "read_parquet",
    "read_tfrecord",
    "read_webdataset",
    "shuffleobs",
    "sliding_windows",
    "splitobs",
    "text",
    "time_series_folds",
    "unbatch",
    "unbatch_sequences",
    "undersample",
    "validate",
    "wine",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
