"""A model server: exports, ONNX files and code of one's own behind the protocols that clients already speak.

_server _client             px.serving.Server, read it first; who asks
_limits _errors             what it takes on; what it answers in place of a result
_settings _life             what a server is told; its life from the first look at the models to the last answer
_keys                       what lets clients in
workers/                    several processes behind one port
engine/                     what is served, and batches of requests for it
language/                   texts of language models, many side by side
repository/                 models and their versions, kept as a folder says
http/                       TensorFlow Serving's REST, KServe's version 2, and a plain form
recording/                  a sample of requests, written down and read again
tracing/                    traces of requests
openai/                     OpenAI's protocol, over HTTP too
rpc/                        both protocols over gRPC
replicas/                   the same in several processes, by Ray Serve
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.serving._client import Client
from phlox.serving._errors import (
    DeadlineError,
    InvalidRequestError,
    ModelFailedError,
    QueueFullError,
    ServingError,
    SlowRequestError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnknownModelError,
    UnprocessableError,
)
from phlox.serving._limits import Limits
from phlox.serving._server import Server
from phlox.serving.engine._servable import Servable
from phlox.serving.language._asked import Asked, Constraint, Piece
from phlox.serving.language._engine import LanguageEngine
from phlox.serving.language._model import LanguageModel
from phlox.serving.language._opening import Language
from phlox.serving.language._running import Running
from phlox.serving.language._sentences import Sentences
from phlox.serving.recording._recording import Recording
from phlox.serving.recording._redaction import Redaction
from phlox.serving.recording._requests import Recorded, Requests, requests
from phlox.serving.replicas._ray import ray
from phlox.serving.repository._guard import Guard
from phlox.serving.repository._layout import is_name as is_name
from phlox.serving.tracing._tracing import Tracing
from phlox.serving.workers._supervisor import Workers

__all__ = [
    "Asked",
    "Client",
    "Constraint",
    "DeadlineError",
    "Guard",
    "InvalidRequestError",
    "Language",
    "LanguageEngine",
    "LanguageModel",
    "Limits",
    "ModelFailedError",
    "Piece",
    "QueueFullError",
    "Recorded",
    "Recording",
    "Redaction",
    "Requests",
    "Running",
    "Sentences",
    "Servable",
    "Server",
    "ServingError",
    "SlowRequestError",
    "TooLargeError",
    "Tracing",
    "UnauthorizedError",
    "UnavailableError",
    "UnknownModelError",
    "UnprocessableError",
    "Workers",
    "ray",
    "requests",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
