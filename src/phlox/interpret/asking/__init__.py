"""Asking: a model as a function of what is to be explained, one number for each row.

_question      a model asked for a number: of its output, or of a layer's
_targets       which number of an output is meant
_baselines     what stands for "nothing there"
_trees         rows, copies and floating leaves of trees
_asked         a question with its input, and how much memory a row takes
_rounds        many copies of many rows, as many at once as memory allows
_draws         random numbers on the host, from a key
_programs      scores and their gradients, compiled
"""
