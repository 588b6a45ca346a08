"""Shards: many observations in each of several files, read by index or one after the other.

_shards        files of records as a source for loaders: by index, and as a stream that tells its place
_paths         which files: one, several, patterns; those of one process
_opening       plain and gzipped files
_decoding      bytes as images, arrays, text and numbers, by the ending of a name
_crc32c        the checksum of TFRecord
_framing       where the records of a TFRecord file lie
_examples      tf.train.Example from its bytes
_features      what is made of its features
_tfrecord _array_record      px.data.read_tfrecord and read_array_record
_tar           where the members of a tar file lie
_webdataset    px.data.read_webdataset: members of one name are one observation
"""
