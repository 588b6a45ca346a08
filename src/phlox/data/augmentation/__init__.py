"""Augmentation: batches changed at random on the device.

_augment             what an augmentation is; read it first
_geometry _warp      cropped, mirrored, moved; the map under it
_color _colors       jitter, grey, blur; the formulas on one image
_mixing              two examples and their labels mixed
_policy              RandAugment
_sequences           spectrograms and tokens masked
"""
