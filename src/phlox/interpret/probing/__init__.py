"""Probing: what a model answers when its data is changed, and how its decisions fall on groups.

_columns           data as columns: arrays, dicts of arrays, pandas frames
_answers           a model's answers for all rows, as one number each where wanted
_dependence        px.interpret.partial_dependence: a feature moved, all else kept; ICE
_counterfactual    px.interpret.nearest_counterfactual: the nearest row that is answered otherwise
_rates             px.interpret.fairness: the four counts by slice, and the measures made of them
_thresholds        px.interpret.choose_thresholds: one for all, one for each slice, or equal rates
_curves            ROC and precision-recall curves by slice, and the confusion matrix
"""
