"""Schedules: numbers that are functions of the step.

_schedule    what a schedule is: it compares by its arguments, and prints
_steps       arithmetic of steps, exact for ten million of them
_decays      those that fall, or rise, once
_cycles      those that come back
_composed    schedules made of schedules
"""
