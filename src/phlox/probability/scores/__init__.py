"""Scores: what a forecast of probabilities is worth once the outcome is there; less is better.

Each is a proper scoring rule, a pure function that gives one number for each target.

_crps             crps_normal, crps_ensemble, crps_quantiles: of distributions over numbers
_energy           energy_score: the same over vectors
_intervals        pinball, interval_score: of quantiles, and of two of them
_probabilities    brier_score, log_score: of probabilities, and of densities
"""
