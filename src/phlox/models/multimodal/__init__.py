"""Models of images and text.

_config      what configs of pairs of towers share: each tower's, and that of both
_towers      a tower for text and one for images: tokens, blocks, a norm, one vector
_pair        two towers that answer in one space: vectors, scores
_clip        CLIP, and its towers alone
_siglip      SigLIP and the plain SigLIP 2, and their towers alone
"""
