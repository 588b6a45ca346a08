"""Models of tables: a family per file, as in vision/.

_ft_transformer   FT-Transformer: a token for every column
"""
