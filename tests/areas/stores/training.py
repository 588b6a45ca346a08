"""A small training with its checkpoints in an object store, as a program: ``training.py URL EPOCHS``."""

import sys

import fsspec
import numpy as np

import phlox as px


def at(endpoint):
    """Have s3:// mean this server."""
    fsspec.config.conf["s3"] = {"endpoint_url": endpoint, "key": "somebody", "secret": "something"}
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def trained(url, epochs, **options):
    """A model trained so long, from where its checkpoints are."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8)).astype(np.float32)
    with px.seed(0):
        model = px.Chain(px.Dense(8, 16, px.tanh), px.Dropout(0.2), px.Dense(16, 1))
    given = {"loss": px.losses.mse, "optimizer": px.optim.Adam(0.01), "batch_size": 16, "progress": False, "seed": 3}
    px.fit(model, (x, x[:, :1]), epochs=epochs, checkpoint_dir=url, **given, **options)
    return model


if __name__ == "__main__":
    at(sys.argv[3])
    trained(sys.argv[1], int(sys.argv[2]), checkpoint_every=2, resume=True)
