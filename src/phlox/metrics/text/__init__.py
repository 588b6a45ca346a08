"""Metrics of texts: strings are read on the host, and what is kept of them are sums.

_text                what they have in common: texts with their targets, counts that are added up
_tokens              texts cut into tokens, as machine translation does it
_bleu _rouge         n-grams and subsequences that are in a target too
_error_rate          words and characters that are wrong, missing or too many
_alignment           the shortest way from one sequence to another; the longest common subsequence
"""
