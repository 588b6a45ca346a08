"""Reporting: two models beside each other, what the smaller one saves and what it lost.

_reporting     px.compress.report: both measured on the same data
_sizes         numbers, bytes in memory and on disk, operations
_latency       calls timed in turns
_changes       how far answers moved, by layer and by example
_report        what was found, as numbers, as JSON, and printed
_plot          the same as a picture
"""
