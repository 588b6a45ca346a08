"""The bundle: what travels between export, server, compressor, pipeline and monitor, in one folder.

_bundle                   what a bundle says, and its signatures
_encoders                 text as numbers, by tables that are data
_schema                   the form of bundle.json, and a checker for it
_manifest                 bundle.json out and in, signed
_examples                 a few inputs and outputs, in examples.npz
_reading _writing         a bundle whose every file is as it was written; written whole or not at all
"""
