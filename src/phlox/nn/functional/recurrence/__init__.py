"""Recurrences as functions.

_form           what they share: which steps are real
_cells          one step of each
_recurrent      over sequences
_loop           a loop whose weight gradient is one product after it
_conv_lstm      with convolutions
_state_space    linear, in parallel
"""
