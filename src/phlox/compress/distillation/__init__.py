"""Distillation: a small model that learns from what a large one says, and from what it computes on the way.

_distilling      px.compress.distil: a student and its teacher, for px.fit
_distillation    both as one model, and the loss of the student
_pairs           which layers are compared, and maps between their widths
_terms           how far a student is from its teacher
"""
