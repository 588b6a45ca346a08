"""Tracking: what a run was made of and what came out of it, written down, handed to services, and read back.

_surroundings     the code's version, the packages, the devices
_record           what every run records; run.json in its folder
_worst            the examples with the largest losses
_recorded_run     a run's folder, read back
_delivery         numbers on their way to a service that may be gone for a while
_service          what loggers of services have in common
_mlflow _wandb    MLflow, Weights & Biases
_catching_up      what services did not get, sent afterwards
pages/            a run, or several, as one HTML page
"""
