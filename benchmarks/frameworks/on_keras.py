"""Keras on any of its backends: train_on_batch, fit with steps_per_execution, predict_on_batch."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from workloads import RATE, Workload

from frameworks._contender import Contender, Form, one_by_one


def start(form: Form) -> None:
    """Two threads, whichever backend it is, and a first operation."""
    del form
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(cores)
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(cores)
    keras.ops.convert_to_numpy(keras.ops.zeros(1) + 1)


def product(size: int) -> Callable[[], Any]:
    """A product of square matrices, waited for."""
    a = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32))
    return lambda: keras.ops.convert_to_numpy(keras.ops.matmul(a, a))


def contender(workload: Workload, form: Form, half: bool) -> Contender:
    keras.utils.set_random_seed(0)
    if half:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model, data = workload.models["keras"](), workload.data()
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    if workload.infers:
        return Contender(one_by_one(model.predict_on_batch, _placed([x] for x, _ in data)), parameters)
    model.compile(
        optimizer=keras.optimizers.Adam(RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=len(data) if form.many else 1,
    )
    if not form.many:
        return Contender(one_by_one(lambda x, y: np.asarray(model.train_on_batch(x, y)), _placed(data)), parameters)
    return Contender(_fits(model, data), parameters)


def _placed(batches: Any) -> list[Any]:
    return [tuple(map(keras.ops.convert_to_tensor, batch)) for batch in batches]


def _fits(model: Any, data: list[Any]) -> Any:
    """One epoch takes all steps that are asked for. Its loss is the mean over them."""
    size = len(data[0][0])
    x, y = (np.concatenate(part) for part in zip(*data, strict=True))

    def run(steps: int) -> float:
        rounds = steps // len(data)
        history = model.fit(np.concatenate([x] * rounds), np.concatenate([y] * rounds), size, shuffle=False, verbose=0)
        return float(history.history["loss"][-1])

    return run
