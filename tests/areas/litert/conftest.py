"""LiteRT's runtime and converter must be there: without them no test of the area is skipped, all fail."""

import ai_edge_litert.interpreter  # noqa: F401
import litert_converter  # noqa: F401
