"""Before the first step: the memory that it will take, and what would make it fit.

_memory                     px.memory
_report                     what it found, and how it prints
_step                       one call compiled from shapes alone, each layer's share
_kept _workspace            what a program keeps for its backward pass, what kernels take
_room                       how much a device has left
_search _saving             what makes a step fit, and the step in less memory
_fit                        the same inside px.fit
_batch_size                 the largest batch that fits
"""
