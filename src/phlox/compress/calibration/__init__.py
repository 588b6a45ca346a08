"""Calibration: what comes into layers, measured on data.

_watching      layers that note what comes in, and a pass of a model over data
_calibrating   px.compress.calibrate: the range of what comes in, for static scales
_clipping      where a range is cut, by a histogram
_factors       px.compress.smooth and awq: factors of what comes in, so that less is lost
_sensitivity   px.compress.sensitivity: what is lost by each layer
_gptq          px.compress.gptq: integers that make up for each other
"""
