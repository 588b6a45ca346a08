"""The engine: what is served, and batches of requests for it.

_servable                   preprocess, predict, postprocess: what a server runs
_opening                    a path as a servable, by what is there
_compiled _onnx             servables that XLA and ONNX Runtime run
_drawing                    inputs for a file that says no more of them than shapes and dtypes
_asking                     inputs of a request as arrays that a signature takes
_guarding                   values of a request, checked by the schema of the model
_rows                       which requests may share a batch, put together and taken apart
_runner                     a servable called for several requests at once
_batcher                    the queue of one version, and the thread that runs it
_pace                       which batches are quick: they run on the event loop's own thread
_warming                    a version before its first request: compiled, compared, its rows proved independent
"""
