"""Panels: the parts of the page, each an object with a ``layout``; they hear of each other through the session.

_style             colours, texts on the page, plain figures
_overview          all observations: a scatter with a brush
_distribution      one column of all, and of what is brushed
_picked            one observation: its answers, before and after it was changed
_editing           a row, a picture or a text, changed
_dependence        one feature moved: partial dependence, and the picked one's curve
_attributions      what made the model answer so
_decisions         thresholds by slice, rates, measures of fairness
_curves            ROC and precision-recall curves
_errors            of models that answer with numbers
"""
