"""Event files are whole records to TensorFlow's own reader, checksums included."""

import numpy as np
import tensorflow as tf

import phlox as px


def test_every_record_is_read_and_the_loss_is_the_history(tmp_path):
    x = np.linspace(-1, 1, 32, dtype="float32").reshape(16, 2)
    with px.seed(0):
        model = px.Dense(2, 1)
    history = px.fit(
        model, (x, x[:, :1]), loss=px.losses.mse, optimizer=px.optim.Descent(0.1), batch_size=8, epochs=3,
        callbacks=[px.TensorBoardLogger(tmp_path)], progress=False,
    )  # fmt: skip
    (file,) = tmp_path.rglob("*tfevents*")
    records = [tf.compat.v1.Event.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(file))]
    found = [v.simple_value for r in records for v in r.summary.value if v.tag == "loss"]
    np.testing.assert_allclose(found, history["loss"], rtol=1e-6)
