"""Keras."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((None, None, 1)),
        layers.Conv2D(8, 3, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
        layers.ReLU(),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.5),
        layers.Dense(10),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(1e-3, epsilon=1e-8),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)


def step(x, y):
    return model.train_on_batch(x, y)


def predict(x):
    return model.predict_on_batch(x)


# --- weights ---


def to_phlox(model):
    w = [np.array(value) for value in model.get_weights()]  # the layouts are Phlox's already
    names = [
        *("layers.0.weight", "layers.1.scale", "layers.1.bias", "layers.1.mean", "layers.1.var"),
        *("layers.3.weight", "layers.3.bias", "layers.7.weight", "layers.7.bias"),
    ]
    return dict(zip(names, w, strict=True))
