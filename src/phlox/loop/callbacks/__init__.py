"""Callbacks: what else happens while a model trains.

_callback                        methods called at named moments; read it first
_names                           which callback is which of those that a checkpoint knows
_lambda                          one made of functions
_monitor _direction              the number that a callback watches; which way it is better
_early_stopping _plateau         stop, or lower the rate, when it no longer improves
_limits _nonfinite               stop by the clock, or at the first NaN
_unfreezing                      layers that start to train later
_ema _swa _averaged_model        averages of the weights
_rescheduled _batch_norm         the schedule that SWA wraps; statistics worked out anew
"""
