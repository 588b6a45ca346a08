"""Formats: what each writes, and what runs it.

_target      what a format is, and which there are
_stablehlo   StableHLO by jax.export, weights beside it
_onnx        ONNX by interchange/onnx, run by ONNX Runtime
_litert      LiteRT by interchange/litert, all signatures in one file, run by ai-edge-litert
_web         a page that runs an ONNX file in a browser; page/ has its plain files
_fields      what a page asks for
_savedmodel  SavedModel around StableHLO's programs, run by TensorFlow
_lapack      linear algebra that other runtimes do not have
_older       a program for readers that are older than JAX
_apart       a process of its own, that does tasks
_tensorflow  what TensorFlow does in one
"""
