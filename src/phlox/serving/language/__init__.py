"""The engine of language models: texts of many clients, written side by side.

_asked         what is asked, and the pieces that are answered
"""
