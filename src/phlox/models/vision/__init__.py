"""Models of images: a family per file, each with its config, its blocks, its names in files and its variants.

_blocks             what several families share: a convolution with its norm
_inverted_residual  blocks of mobile networks, squeeze-and-excitation
_tokens             images as rows of tokens: what ViT, DeiT and DINOv2 share
_encoder            blocks of transformers: what these and Swin share
_convnext           ConvNeXt and ConvNeXt V2
_deit               DeiT, with a token for what a teacher says
_dinov2             DINOv2, with and without registers
_efficientnet       EfficientNet B0 to B7, Lite0 to Lite4
_mobilenet_v3       MobileNetV3, large and small
_detr               DETR: boxes of objects
_detr_config        what a DETR is built from, its backbone by several names
_detr_loss          DETR's loss: queries matched to objects; its answers as boxes with scores
_resnet             ResNet, ResNeXt, wide ResNet
_swin               Swin
_unet               U-Net: a class for every pixel
_vit                ViT
"""
