"""Models of images: a family per file, each with its config, its blocks, its names in files and its variants.

_blocks       what several families share: a convolution with its norm
_tokens       images as rows of tokens: what ViT, DeiT and DINOv2 share
_encoder      blocks of transformers: what these and Swin share
_deit         DeiT, with a token for what a teacher says
_dinov2       DINOv2, with and without registers
_resnet       ResNet, ResNeXt, wide ResNet
_swin         Swin
_vit          ViT
"""
