"""Inference: what data says of a model's weights, as many models instead of one.

_ensemble         Ensemble: models side by side; mixture, one distribution of what they say
_drawing          sample_predictions: dropout and Bayesian layers that draw at prediction
_priors _program  priors by path; a Module as one of NumPyro's programs
_nuts             nuts: draws from the posterior
_svi              svi: the nearest of some simple distributions to it
_laplace _curvature _blocks   laplace: a normal distribution around a trained model; its matrices, whole and in factors
_swag             SWAG: a normal distribution of what training went through
"""
