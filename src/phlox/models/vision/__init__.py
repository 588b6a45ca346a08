"""Models of images: a family per file, each with its config, its blocks, its names in files and its variants.

_blocks             what several families share: a convolution with its norm
_inverted_residual  blocks of mobile networks, squeeze-and-excitation
_convnext           ConvNeXt and ConvNeXt V2
_efficientnet       EfficientNet B0 to B7, Lite0 to Lite4
_mobilenet_v3       MobileNetV3, large and small
_resnet             ResNet, ResNeXt, wide ResNet
"""
