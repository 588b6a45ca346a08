"""Rows of the registry of what is exported that LiteRT has no form for, and why; docs/generate_litert.py writes them down."""

EXCEPTIONS = {
    "LRU": "its state is a complex number",
    "S4D": "its states are complex numbers",
}
