"""Tensors and data sets of TensorFlow are taken as they are: the same batches, the same steps as with arrays."""

import gzip

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

import phlox as px

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 3)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")


def dataset(size=5):
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(size)


def fitted(data, **options):
    model = px.Dense.of(jnp.ones((3, 2)) * jnp.arange(1.0, 3), jnp.zeros(2))
    history = px.fit(
        model, data, loss=px.losses.cross_entropy, optimizer=px.optim.Descent(0.1), epochs=2, progress=False, **options
    )
    return model, history


def test_a_loader_reads_tensors_as_it_reads_arrays():
    loader = px.DataLoader((tf.constant(X), tf.constant(Y)), 5, shuffle=True)
    expected = px.DataLoader((X, Y), 5, shuffle=True)
    for (x, y), (a, b) in zip(loader, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(a))
        np.testing.assert_array_equal(np.asarray(y), np.asarray(b))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "uint8", "bool"])
def test_a_tensor_keeps_its_dtype_and_its_numbers(dtype):
    values = np.arange(6).reshape(3, 2) % 2
    (batch,) = px.DataLoader(tf.cast(tf.constant(values), dtype), 3)
    assert batch.dtype == jnp.dtype(dtype)
    np.testing.assert_array_equal(np.asarray(batch).astype(int), values)


def test_a_fit_on_a_data_set_takes_the_steps_of_a_fit_on_arrays():
    ours, theirs = fitted(px.DataLoader((X, Y), 5)), fitted(dataset())
    np.testing.assert_allclose(np.asarray(theirs[0].weight), np.asarray(ours[0].weight), rtol=1e-6)
    np.testing.assert_allclose(theirs[1]["loss"], ours[1]["loss"], rtol=1e-6)


def test_a_data_set_is_evaluated_and_predicted():
    model = fitted((X, Y), batch_size=5)[0]
    ours = px.evaluate(model, (X, Y), loss=px.losses.cross_entropy, batch_size=5)
    theirs = px.evaluate(model, dataset(), loss=px.losses.cross_entropy)
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-6)


def test_a_data_set_of_dicts():
    data = tf.data.Dataset.from_tensor_slices({"x": X, "y": Y}).batch(5)
    batches = list(px.DataLoader({"x": X, "y": Y}, 5))
    for theirs, ours in zip(data, batches, strict=True):
        np.testing.assert_array_equal(theirs["x"].numpy(), np.asarray(ours["x"]))
    model = px.Dense.of(jnp.ones((3, 2)) * jnp.arange(1.0, 3), jnp.zeros(2))
    loss = lambda model, batch: px.losses.cross_entropy(model(batch["x"]), batch["y"])  # noqa: E731
    opt = px.Optimizer(px.optim.Descent(0.1), model)
    before = np.asarray(model.weight)
    px.train(loss, model, data, opt)
    assert not np.array_equal(np.asarray(model.weight), before)


def test_records_that_tensorflow_wrote_are_read(tmp_path):
    images = RNG.integers(0, 256, (4, 5, 6, 3)).astype("uint8")
    numbers = [[0, -1, 2**63 - 1], [-(2**63), 300, 7], [1, 2, 3], [4, 5, 6]]

    def example(i):
        feature = {
            "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.encode_png(images[i]).numpy()])),
            "numbers": tf.train.Feature(int64_list=tf.train.Int64List(value=numbers[i])),
            "x": tf.train.Feature(float_list=tf.train.FloatList(value=X[i])),
            "names": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a\0", b""])),
        }
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    wanted = {"image": "png", "numbers": (3,), "x": (3,), "names": None}
    for kind in ("", "GZIP"):
        path = str(tmp_path / f"a{kind}.tfrecord")
        with tf.io.TFRecordWriter(path, kind) as writer:
            for i in range(4):
                writer.write(example(i))
        found = list(px.data.read_tfrecord(path, wanted))
        assert len(found) == 4
        for i, record in enumerate(found):
            np.testing.assert_array_equal(record["image"], images[i])
            np.testing.assert_array_equal(record["x"], X[i])
            assert record["numbers"].tolist() == numbers[i]
            assert record["names"] == [b"a\0", b""]


def test_tensorflow_reads_a_file_as_we_do(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    payloads = [b"", b"x", RNG.bytes(100), RNG.bytes(5000)]
    with tf.io.TFRecordWriter(path) as writer:
        for payload in payloads:
            writer.write(payload)
    ours = px.data.read_tfrecord(path, bytes)
    theirs = [record.numpy() for record in tf.data.TFRecordDataset(path)]
    assert [ours[i] for i in range(len(ours))] == theirs == payloads
    with open(path, "rb") as file, gzip.open(path + ".gz", "wb") as packed:
        packed.write(file.read())
    assert list(px.data.read_tfrecord(path + ".gz", bytes)) == payloads
