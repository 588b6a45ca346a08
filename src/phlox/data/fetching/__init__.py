"""Fetching: files of known checksum from the network into a folder, whole or not at all.

_remote       a file that lies elsewhere: its name, addresses, size and checksum
_part         what has come of a file so far; one process writes it at a time
_transfer     one attempt: what is missing, from one address
_fetch        address after address, again where that may help, until the file is whole
_progress     a bar in a terminal
_unpacking    archives of plain files
"""
