"""Tokens that go to experts on other devices, and come back.

_places      which token has which place at which expert, over the whole batch
_exchange    tokens sent to those places, by all-to-all or gathered, and results sent back
"""
