"""Gaussian processes as last layers.

_head      GaussianProcessHead: a distribution over functions of features, by inducing points
_kernels   how alike two inputs are
_expected  a normal distribution whose mean is uncertain
"""
