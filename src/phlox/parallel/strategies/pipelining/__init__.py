"""What a pipeline does: who works on what when, and blocks that run so.

_timetable    which stage works on which micro-batch at which tick
_stages       a repeated layer over stages: the way "repeated"
_arrays       what the stages get and give: blocks, State, rows in micro-batches
"""
