"""Processes that Ray starts: a training of two gives the numbers of one process."""

from pathlib import Path

import pytest

import phlox as px


def fitted():
    """A small training, over all devices of all processes."""
    import jax
    import numpy as np

    import phlox as px

    rng = np.random.default_rng(0)
    data = rng.normal(size=(22, 4)).astype("f"), rng.integers(0, 3, 22)
    with px.seed(0):
        model = px.Chain(px.Dense(4, 8, px.tanh), px.BatchNorm(8), px.Dropout(0.3), px.Dense(8, 3))
    history = px.fit(
        model,
        data,
        loss=px.losses.cross_entropy,
        optimizer=px.optim.Adam(1e-2),
        epochs=3,
        batch_size=8,
        progress=False,
        parallel=px.parallel.data_parallel(),
    )
    return jax.process_count(), history.losses.tolist()


def failing():
    raise ValueError("as asked for")


@pytest.fixture(scope="module")
def machine(cluster, tmp_path_factory):
    """A folder for what Ray keeps, where Ray runs."""
    return str(tmp_path_factory.mktemp("ray"))


@pytest.mark.filterwarnings("ignore")
def test_two_workers_give_the_numbers_of_one_process(machine):
    count, losses = px.parallel.ray(fitted, 2, storage=machine)
    alone, wanted = fitted()
    assert (count, alone) == (2, 1)
    assert losses == pytest.approx(wanted, abs=1e-5)
    assert len(losses) == 9


@pytest.mark.filterwarnings("ignore")
def test_what_a_worker_raises_ends_the_training(machine):
    with pytest.raises(Exception, match="as asked for"):
        px.parallel.ray(failing, 2, storage=machine)


def ending_once(folder, dies):
    """A training whose second process is killed at its fifth step, where that did not happen before."""

    def train():
        import os
        import signal

        import jax
        import numpy as np

        import phlox as px

        class Dies(px.Callback):
            def on_step_end(self, run):
                marker = Path(folder, "died")
                if dies and run.step == 5 and jax.process_index() == 1 and not marker.exists():
                    marker.touch()
                    os.kill(os.getpid(), signal.SIGKILL)

        rng = np.random.default_rng(0)
        data = rng.normal(size=(24, 4)).astype("f"), rng.integers(0, 3, 24)
        with px.seed(0):
            model = px.Chain(px.Dense(4, 8, px.tanh), px.BatchNorm(8), px.Dropout(0.3), px.Dense(8, 3))
        history = px.fit(
            model,
            data,
            loss=px.losses.cross_entropy,
            optimizer=px.optim.Adam(1e-2),
            steps=12,
            batch_size=8,
            progress=False,
            parallel=px.parallel.data_parallel(),
            callbacks=[Dies()],
            checkpoint_dir=Path(folder, "run"),
            checkpoint_every=2,
            resume=True,
        )
        weights = [np.asarray(v).tobytes() for v in px.split(model)[0].values()]
        return jax.process_count(), history.losses.tolist(), weights

    return train


@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_is_started_again_and_the_training_ends_bit_for_bit(machine, tmp_path):
    for name in ("killed", "straight"):
        (tmp_path / name).mkdir()
    killed = px.parallel.ray(ending_once(str(tmp_path / "killed"), True), 2, storage=machine, restarts=2)
    straight = px.parallel.ray(ending_once(str(tmp_path / "straight"), False), 2, storage=machine)
    assert (tmp_path / "killed" / "died").exists()
    assert killed == straight
    assert (killed[0], len(killed[1])) == (2, 12)


@pytest.mark.filterwarnings("ignore")
def test_without_restarts_a_killed_worker_ends_the_training(machine, tmp_path):
    with pytest.raises(Exception, match=r"(?i)worker|died|killed|actor"):
        px.parallel.ray(ending_once(str(tmp_path), True), 2, storage=machine)
