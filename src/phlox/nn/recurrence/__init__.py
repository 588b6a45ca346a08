"""Recurrent layers: a state carried over time.

_cells          one step
_recurrent      RNN, LSTM and GRU over whole sequences
_recurrence     any cell over time
_conv_lstm      over images
_state_space    linear recurrences, in parallel
"""
