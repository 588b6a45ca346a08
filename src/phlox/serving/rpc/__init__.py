"""gRPC: KServe's version 2, and TensorFlow Serving's PredictionService and ModelService.

_server                     the server beside HTTP's: tokens, limits, TLS; read it first
_calls                      one call: its time, its errors, its count
_kserve                     GRPCInferenceService
_tensorflow _tensor_proto   PredictionService and ModelService; TensorProto as arrays
_config                     which models are to be served, as TensorFlow Serving's clients say it
_messages _schema           messages made of tables, in a pool of their own
"""
