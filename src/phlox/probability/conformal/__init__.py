"""Conformal prediction: intervals and sets that hold what comes as often as asked, whatever the model.

All that is asked of the data is that examples by which a method is calibrated and those it is used on come in no
particular order. n calibration examples then make it so with a probability of at least the coverage, and at most
1 / (n + 1) more where no two scores are alike.

_regression    ConformalRegressor, ConformalQuantileRegressor: intervals around one prediction, or two quantiles
_classes       ConformalClassifier: sets of classes
_detector      ConformalDetector: what is strange, with a rate of false alarms
_threshold     the score that enough of the examples stay below
"""
