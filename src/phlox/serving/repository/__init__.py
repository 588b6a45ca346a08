"""Models and their versions: found in a folder, picked up and dropped while the server runs.

_layout                     what stands in a folder of models
_policy                     which versions are served, under which labels and shares
_guard                      when a version that is tried is bad enough to be put back
_memory                     what a version takes, told before it is loaded
_version                    one version: loaded, asked, put away
_model                      the versions of a name, and which of them answers
_repository                 all models, kept as the folder says
_rollout                    shares of versions, changed while the server runs, and put back
"""
