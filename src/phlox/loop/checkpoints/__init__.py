"""Checkpoints: a run kept on disk, whole or not at all, and put back bit for bit.

_checkpoint     the callback that saves
_store          a folder of checkpoints: written in the background, kept by age and score
_files          one checkpoint on the disk
_manifest       what it says, and whether every file is as it was
_plain_state    state of any form as JSON beside arrays
_load           what it holds, put into a run or a model
_lock           two trainings kept out of one folder
_changes        what a resumed run was made of, and what is not as it was
"""
