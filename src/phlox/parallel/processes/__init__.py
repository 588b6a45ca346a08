"""Several processes: brought together, compared, and ended together.

_cores        the cores of this machine, shared out
_seat         which process of how many this is
_group        what they tell each other, and who was lost
_pulse        where each stands in its training, as it tells the others
_judging      who hangs, and who is slow, from what all tell
_signs        signs of life: given, looked for, acted upon
_roll_call    who is there, before JAX meets
_initialize   px.parallel.initialize
_ray          px.parallel.ray
_rows         which rows of a batch each gives, and the array of them all
_agreement    what must be the same in all, compared
_ending       ends and failures that are those of all
_reached      how far a process has come, for who starts it again
_requeue      a job that Slurm puts into its queue again
"""
