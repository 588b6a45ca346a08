"""Sets: well-known data sets by name.

_known        which there are: files, addresses, checksums, classes, licences
_reading      their files as images and labels
_datasets     px.data.datasets
"""
