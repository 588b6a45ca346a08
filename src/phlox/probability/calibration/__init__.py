"""Calibration: probabilities that are as often right as they say, by examples that no training has seen.

_temperature    TemperatureScaling: logits of classes, by one number
_platt          PlattScaling: scores of yes or no, by a line
_isotonic       IsotonicCalibration: scores of yes or no, by steps that rise
_reliability    reliability: how often it was so, by what was said; its diagram
"""
