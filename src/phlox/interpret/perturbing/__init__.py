"""Perturbing: attributions from scores without parts of the input; no gradient is needed.

_features      which numbers belong to one feature
_coalitions    scores where some features are there, and baselines for the others
_ablation      feature ablation and permutation: one feature at a time
_occlusion     occlusion: a window that slides
_shapley       Shapley values: exact, and from orders drawn at random
_kernel_shap   KernelShap: Shapley values as a weighted regression
_lime          LIME: a sparse linear model around a row
"""
