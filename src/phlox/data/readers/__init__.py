"""Readers: files and objects of other libraries as data.

_foreign          arrays, tables and loaders of other libraries
_files            files of known content: read whole, checked, unpacked
_idx _cifar       MNIST and its kin; CIFAR-10 and CIFAR-100
_pixels           encoded images as Pillow's
_image_folder     folders of images, one for each class
_tables           CSV and Parquet
_table_encoder    what a table's columns become
_known_sets       small real sets that come with scikit-learn
shards/           TFRecord, ArrayRecord and WebDataset: many observations in each of several files
"""
