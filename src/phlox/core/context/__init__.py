"""Where code runs, and what holds there: scope, mode, randomness, dtypes.

_here       what runs in this thread, and what a Module knows of where it was born: data alone; read it first
_scope      the bodies of transforms, entered and left: what may be read and written there
_trail      the path from the root of a model to where something went wrong
_frames     the variables that a Module has in the user's code
_setting    a setting for a block of code, of this thread and task
_mode       training or inference
_random     the stream that constructors draw from, and the keys that layers own
_dtypes     no silent conversion: one policy
_later      errors of compiled code while it runs
_warning    a warning once for each place, at the user's line
_ways       other ways of computing what layers compute, in a block
_outlives   whether what is traced here may be used again untraced
"""
