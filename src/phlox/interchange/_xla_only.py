"""Operations that no runtime but XLA has, whatever the format: what each is, and what would help."""

from __future__ import annotations

Refused = dict[str, tuple[str, str]]
"""For each operation that is refused: what it is, and what would help."""


def several(names: str, what: str, fix: str) -> Refused:
    """The same words for several operations.

    >>> several("lu qr", "a decomposition", "compute it beforehand")["qr"]
    ('a decomposition', 'compute it beforehand')
    """
    return dict.fromkeys(names.split(), (what, fix))


XLA_ONLY: Refused = {
    **several(
        "random_bits random_seed random_wrap random_unwrap random_fold_in random_split random_clone random_gamma "
        "threefry2x32 rng_bit_generator rng_uniform iota_2x32_shape",
        "a draw of random numbers",
        "give the model what it draws as an input, or take the layer that draws out",
    ),
    **several(
        "cholesky qr householder_product geqrf svd eig eigh lu triangular_solve tridiagonal_solve schur "
        "custom_linear_solve",
        "a decomposition or solution of linear equations",
        "compute it beforehand where it depends on weights only",
    ),
    **several("ffi_call", "a call into compiled code", "export the operation's plain form"),
    **several(
        "psum pmax pmin ppermute all_gather all_to_all reduce_scatter axis_index shard_map",
        "several devices",
        "export the model as one device runs it",
    ),
}
