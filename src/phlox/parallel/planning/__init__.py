"""A plan: what a model takes on chips that are not there, and which strategy suits.

_plan         px.parallel.plan
_report       what it found: a table, numbers, JSON
_tries        one strategy after the other, compiled and looked at
_strategies   which are tried, and how much is computed again
_step         the step of px.fit, which the training loop hands down
_time         a roofline of computation, memory and links
_sent         what a compiled step sends between devices
_groups       which of them a collective brings together
_topology     chips and how they stand, and devices to compile for
_chips        what chips can do, by their data sheets
"""
