"""Rewriting: attributions that go back through a model by rules other than those of the gradient.

_lines         a question as lines, with what is a function of one number drawn together
_backprop      guided backpropagation and deconvolution
_deep_lift     DeepLift, and DeepLiftShap over baselines
_differences   DeepLift's rules: what went in and what came out, less the same of a baseline
_relevance     layer-wise relevance propagation
_relevance_rules  its rules, by layer and by operation
"""
