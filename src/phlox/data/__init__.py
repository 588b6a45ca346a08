"""Data: observations counted, taken, split, folded, batched and scaled.

Data is an array, a pandas frame, a list, a dataset (anything with a length and an index), or a tuple or dict of such
side by side; the first axis counts observations. Whatever is random takes ``seed=``, a whole number or a JAX key, and
gives the same on every machine; without one, the order stays.
"""

from phlox.data._augment import Augment, Augmentation
from phlox.data._augment_color import ColorJitter, GaussianBlur, Grayscale
from phlox.data._augment_geometry import Cutout, RandomAffine, RandomCrop, RandomErasing, RandomFlip
from phlox.data._augment_mixing import CutMix, MixUp
from phlox.data._augment_policy import RandAugment
from phlox.data._augment_sequences import FrequencyMask, TimeMask, TokenMask
from phlox.data._batches import Padded, batch, batch_sequences, unbatch, unbatch_sequences
from phlox.data._folds import kfolds, leave_p_out, time_series_folds
from phlox.data._loader import DataLoader
from phlox.data._observations import ObsView, filterobs, getobs, joinobs, mapobs, numobs, sliding_windows
from phlox.data._scaling import Normalize, Standardize
from phlox.data._shuffling import group_indices, groupobs, oversample, shuffleobs, undersample
from phlox.data._splits import chunk, splitobs

__all__ = [
    "Augment",
    "Augmentation",
    "ColorJitter",
    "CutMix",
    "Cutout",
    "DataLoader",
    "FrequencyMask",
    "GaussianBlur",
    "Grayscale",
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
    "TimeMask",
    "TokenMask",
    "batch",
    "batch_sequences",
    "chunk",
    "filterobs",
    "getobs",
    "group_indices",
    "groupobs",
    "joinobs",
    "kfolds",
    "leave_p_out",
    "mapobs",
    "numobs",
    "oversample",
    "shuffleobs",
    "sliding_windows",
    "splitobs",
    "time_series_folds",
    "unbatch",
    "unbatch_sequences",
    "undersample",
]
