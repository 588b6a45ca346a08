"""Kernels: faster forms of a few operations for the CPU; nothing else knows of the package that holds them.

_kernels                                      the registry; read it first
_gradients                                    a kernel with a kernel for its gradient
_parts                                        programs over several devices: a call on each for its rows
_conv _pool _norm _layer_norm _recurrent      a family each; the functional forms ask them, and go on where they decline
_phases                                       what convolves images' gradients, of few channels
_attention                                    the same, without ever holding all scores
_slots                                        attention of texts that come and go, over their slots of a cache
_inference                                    all that stands behind a product in its last pass
_product _gelu                                large products of dense layers, and what comes behind many of them

A new one is also entered in native/CMakeLists.txt and native/phlox_cpu/__init__.py; see docs/design/kernels.md.
"""
