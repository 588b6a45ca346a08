"""Inference on encrypted inputs: the one who computes sees neither inputs nor answers (CKKS, over TenSEAL).

_polynomial   px.privacy.with_polynomials: activations as polynomials, for nothing else can be computed
_program      a model as products with matrices and polynomials
_planning     levels, sizes and primes that a program takes
_keys         px.privacy.EncryptionKeys: what the client keeps; encrypts and decrypts
_model        px.privacy.EncryptedModel: what the server has; computes; read it first
"""
