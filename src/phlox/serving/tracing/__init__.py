"""Traces of requests, as OpenTelemetry has them; nothing of it is imported where none are wanted.

_tracing                    px.serving.Tracing: where they go, and which
_tracer                     spans of a request, of its time in the queue, of the batch that it ran in, of its tokens
"""
