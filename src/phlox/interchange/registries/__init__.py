"""Registries: models kept under names and versions by services of others.

_mlflow     a flavour of MLflow's: logged, registered, loaded, served
"""
