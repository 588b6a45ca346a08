"""HTTP: TensorFlow Serving's REST, KServe's version 2, and a plain form.

_app _routes _answers       the token, the clock, errors; addresses and who answers them; read it first
_asked                      a request: its model, its body, its time, its client who may leave
_bodies _json_arrays        bodies within limits; arrays in JSON
_tensorflow                 /v1/models/NAME:predict, classify, regress, status, metadata
_kserve _binary             /v2/models/NAME/infer, health, repository; tensors behind the JSON
_rollouts                   which version has which share of the requests
_plain _images _multipart   /predict/NAME: one observation, pictures and forms among them
_openapi _page              addresses for programs; a page for people
_health                     /healthz, /readyz, /metrics
_metrics _journal           numbers for Prometheus; one line of JSON for each event
_service                    the models, and who looks on while they are asked
_listening                  a socket, of one process or several
_protocol                   headers that are too long or too slow
_spending                   what one client may take: texts at a time, tokens in a minute
"""
