"""Loading: batches in an order by the seed, from any position.

_loader       px.DataLoader; read it first
_order        which observations are in which batch
_sources      where it reads: columns, items one by one, streams
_streaming    batches of a stream
_buckets      sequences of like length together
_workers      processes that read
_ahead        batches made ahead, and put on the device
"""
