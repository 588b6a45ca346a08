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


def by_two(url):
    """By this process and another: begun, gone on with from there, and never stopped; whether the ends are the same."""
    px.parallel.initialize()
    cut = {"parallel": px.parallel.fsdp(whole=8)}
    trained(url, 2, **cut)
    ends = [px.state_dict(trained(url, 3, resume=True, **cut)), px.state_dict(trained(None, 3, **cut))]
    parts = [[np.asarray(v.addressable_data(0)) for name, v in end.items() if "key" not in name] for end in ends]
    return all(np.array_equal(one, other) for one, other in zip(*parts, strict=True))


if __name__ == "__main__":
    at(sys.argv[3])
    if sys.argv[2] == "by two":
        sys.exit(0 if by_two(sys.argv[1]) else 1)
    trained(sys.argv[1], int(sys.argv[2]), checkpoint_every=2, resume=True)
