"""Worker processes: the same order for every number of them, errors that come through, and none that stay."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.data import DataLoader, mapobs

grain = oracle("grain")


def reading(broken=None):
    """Observations that say where they were read; made of lambdas, which travel to a process by value."""
    import os

    return mapobs(lambda i: {"i": np.int32(i // (i != broken)), "process": np.int32(os.getpid())}, 14)


def test_workers_give_the_order_of_one_process_and_end_with_the_loader():
    one = DataLoader(reading(), 4, shuffle=True, pad_last=True)
    with DataLoader(reading(), 4, shuffle=True, pad_last=True, num_workers=2) as two:
        state, processes = None, set()
        for _ in range(2):  # two epochs of the same processes
            for number, ((a, mask), (b, same)) in enumerate(zip(one, two, strict=True)):
                assert (a["i"].tolist(), mask.tolist()) == (b["i"].tolist(), same.tolist())
                processes |= set(b["process"].tolist())
                if number == 1 and two.epoch == 1:
                    state = two.state()
        assert len(processes) == 2
        assert os.getpid() not in processes
    one.restore(state)  # another number of workers goes on
    assert [batch["i"].shape for batch, _ in one] == [(4,), (4,)]
    for process in processes:
        assert _gone(process)


def test_an_error_in_a_worker_says_where_it_was():
    loader = DataLoader(reading(broken=5), 4, num_workers=1)
    with pytest.raises(Exception, match=r"ZeroDivisionError|division") as caught:
        list(loader)
    assert "while reading observation 5" in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    loader.close()


def test_grain_goes_on_only_with_as_many_workers():
    def made(workers):
        data = grain.MapDataset.range(12).to_iter_dataset()
        options = grain.multiprocessing.MultiprocessingOptions(num_workers=workers)
        return data.mp_prefetch(options)

    from phlox.data.loading._streaming import _place, _set_place
    from phlox.data.loading._workers import _flags_are_parsed

    _flags_are_parsed()
    place = _place(iter(made(2)))
    _set_place(iter(made(2)), place)
    with pytest.raises(px.StructureError, match="expects 2 worker processes, got 3\n  fix: make Grain's dataset with"):
        _set_place(iter(made(3)), place)


PARENT = """
    import os, sys, time
    import numpy as np
    import phlox as px

    if __name__ == "__main__":
        data = px.data.mapobs(lambda i: np.array([i, os.getpid()]), 10**6)
        for batch in px.DataLoader(data, 2, num_workers=2):
            print(*set(batch[:, 1].tolist()), flush=True)
            time.sleep(0.01)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path):
    program = tmp_path / "parent.py"
    program.write_text(textwrap.dedent(PARENT), "utf-8")
    parent = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers: set[int] = set()
    while len(workers) < 2:
        line = parent.stdout.readline()
        assert line, "the program ended"
        workers |= {int(word) for word in line.split()}
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert all(_gone(process) for process in workers)


def _gone(process: int) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(200):
        try:
            os.kill(process, 0)
            if " Z " in Path(f"/proc/{process}/stat").read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
