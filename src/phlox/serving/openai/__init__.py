"""OpenAI's protocol: completions, chats and embeddings, as the clients of that service ask for them.

_models _completions _chat _embeddings   who answers which address
_finding            the model that a request names
_fields _options    what a request says, read field by field; how a text is to be written
_messages _tools    a chat's messages for its template; what the model may call
_grammar            texts that a JSON schema or a grammar allows
_writing _stopping  a text while it is written, and the strings that end it
_calling            calls of tools in a text
_telling            log-probabilities as both addresses have them
_events             answers in parts, as server-sent events
_faults             errors as this protocol has them
"""
