"""Colours for columns, rows or both of a sparse matrix: what has one colour is found by one product.

Source: Gebremedhin, Manne and Pothen, "What color is your Jacobian? Graph coloring for computing derivatives", 2005.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Colours = Any
"""(n,) a number for each column or row, from 0."""


def columns(pattern: Any) -> Colours:
    """Colours of columns, of which no two of one colour have an entry in the same row.

    >>> from scipy import sparse
    >>> columns(sparse.csr_matrix([[1, 0, 1], [0, 1, 0]])).tolist()
    [0, 0, 1]
    """
    whole = (pattern.tocsr() != 0).astype(np.int64)
    return _greedy(_neighbours(whole.T @ whole), _first_free)


def symmetric(pattern: Any) -> Colours:
    """Colours by which a symmetric matrix is found from products with the sums of columns of one colour.

    Neighbours differ, and no path of four has two colours only (a star colouring).

    >>> from scipy import sparse
    >>> symmetric(sparse.csr_matrix([[1, 1, 1], [1, 1, 0], [1, 0, 1]])).tolist()
    [0, 1, 1]
    """
    whole = (pattern.tocsr() != 0).astype(np.int64)
    return _greedy(_neighbours(whole + whole.T), _star_free)


def _neighbours(graph: Any) -> list[Any]:
    """For each node of a symmetric matrix the others that it has entries with."""
    graph = graph.tocsr()
    rows = [graph.indices[a:b] for a, b in zip(graph.indptr, graph.indptr[1:], strict=False)]
    return [row[row != n] for n, row in enumerate(rows)]


def _greedy(beside: list[Any], free: Any) -> Colours:
    """The least colour that is free for each node, those with most neighbours first."""
    colours = np.full(len(beside), -1)
    for node in sorted(range(len(beside)), key=lambda n: (-len(beside[n]), n)):
        colours[node] = free(node, beside, colours)
    return colours


def _least(taken: set[int]) -> int:
    return next(c for c in range(len(taken) + 1) if c not in taken)


def _first_free(node: int, beside: list[Any], colours: Colours) -> int:
    return _least(set(colours[beside[node]].tolist()))


def _star_free(node: int, beside: list[Any], colours: Colours) -> int:
    """The least colour by which no path of four through this node gets two colours."""
    taken = set(colours[beside[node]].tolist())
    for near in beside[node]:
        for far in (n for n in beside[near] if n != node and colours[n] >= 0):
            # Beside one without a colour any may follow; else a path goes on where its colour comes again.
            if colours[near] < 0 or np.any(colours[[n for n in beside[far] if n != near]] == colours[near]):
                taken.add(int(colours[far]))
    return _least(taken)
