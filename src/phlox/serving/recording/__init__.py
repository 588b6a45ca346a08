"""Requests written down: a sample of them, without what nobody may keep, as Parquet.

_recording                  px.serving.Recording: which requests, where, for how long; read it first
_redaction                  px.serving.Redaction: what is left out, hashed, cut
_record _texts              one request; the columns of one that was asked for text
_columns                    arrays as columns, large ones as a summary
_recorder                   the queue, the thread and the files
_requests                   px.serving.requests: what was written, read again
"""
