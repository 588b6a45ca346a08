"""Models of images: a family per file, each with its config, its blocks, its names in files and its variants.

_blocks       what several families share: a convolution with its norm
_resnet       ResNet, ResNeXt, wide ResNet
"""
