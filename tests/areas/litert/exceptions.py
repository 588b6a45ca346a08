"""Rows of the registry that LiteRT has no form for, and why; docs/generate_litert.py writes them down."""

EXCEPTIONS: dict[str, str] = {}
