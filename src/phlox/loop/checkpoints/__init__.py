"""Checkpoints: a run kept on disk, whole or not at all, and put back bit for bit.

_checkpoint     the callback that saves
_place          where they are: a folder on a disk, or names in an object store
_store          a folder of checkpoints: written in the background, kept by age and score
_saving         writing in the background: by one process, or by several together
_part           what one of several processes writes of a checkpoint, and how their parts become one
_circle         the processes that keep one folder together
_snapshot       a run as it was at one instant
_files          one checkpoint on the disk
_arrays         its arrays, by Orbax: whole, or in parts
_manifest       what it says, and whether every file is as it was
_plain_state    state of any form as JSON beside arrays
_load           what it holds, put into a run or a model
_places         where that is to lie
_lock           two trainings kept out of one folder
_changes        what a resumed run was made of, and what is not as it was
"""
