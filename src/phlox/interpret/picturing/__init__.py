"""Picturing: attributions as people see them.

_images    over an image, or as bars
_tokens    text whose tokens have colours
_tables    features in a table, a page or a DataFrame
_page      an attribution by itself in a notebook
"""
