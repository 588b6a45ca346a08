"""Gradients: attributions from the slopes of a score.

_lines         lines from baselines to the input, and points on them
_saliency      saliency, input × gradient
_smoothing     SmoothGrad and VarGrad: the same over noise
_integrated    integrated gradients
_expected      expected gradients
_conductance   conductance and internal influence of a layer
_cam           Grad-CAM, Grad-CAM++ and Score-CAM
"""
