"""Where code runs, and what holds there: scope, mode, randomness, dtypes.

_setting    a setting for a block of code, of this thread and task
_scope      the stack of transforms that run: what may be read and written there
_trail      the path from the root of a model to where something went wrong
_mode       training or inference
_random     the stream that constructors draw from, and the keys that layers own
_dtypes     no silent conversion: one policy
_outlives   whether what is traced here may be used again untraced
"""
