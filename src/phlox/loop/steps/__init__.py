"""Steps: loss, gradient and update as one program, and several of them in one dispatch.

_step                     one step as a pure program on objects
_objective                what it minimises, in the form its user wrote it
_by_output _weighing      losses by output; examples and classes that count differently
_precision _clip          in which precision it computes, with which guards; clipped gradients
_chunk _ledger            many steps in one call, and their losses kept on the device
_multi_step               px.multi_step
"""
