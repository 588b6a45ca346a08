"""Logs: what people see of a run, while it goes on and afterwards.

_history                   what a run measured
_display _notebook_bar     a bar in a terminal, in a notebook; plain lines elsewhere
_files _patience           CSV, and a line of JSON for each entry; what cannot be written for a while
_tensorboard _graph        event files, and the model as a graph
_plot                      pictures of a run
_throughput _profile       how fast it goes; a trace of what the processor does
"""
