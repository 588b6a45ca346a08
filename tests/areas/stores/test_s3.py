"""Checkpoints in S3, by s3fs, on a server of Moto on this machine: gone on from, damaged, refused, and killed."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

import phlox as px
from phlox import weights
from phlox.cli._launch import launch
from phlox.loop.checkpoints import _place

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))

from training import at, trained  # noqa: E402 - which stands beside this file

pytestmark = pytest.mark.filterwarnings("ignore")  # of botocore and Flask


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    at(f"http://{host}:{port}")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def url(endpoint):
    at(endpoint)
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}/runs/one"


def same(model, other):
    for path, value in px.state_dict(model).items():
        if "key" not in path:
            np.testing.assert_array_equal(value, px.state_dict(other)[path], err_msg=path)


def test_a_training_goes_on_from_there_bit_for_bit(url):
    trained(url, 2)
    resumed = trained(url, 3, resume=True)
    same(resumed, trained(None, 3))
    files = fsspec.filesystem("s3")
    names = {path.split("/")[3] for path in files.find(url.removeprefix("s3://"))}
    assert names == {".writer", "0002-step-8", "0003-step-12"}
    other = trained(None, 1)
    px.load_checkpoint(other, url)
    same(other, resumed)


def test_two_processes_send_each_its_part(url, endpoint, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    assert launch([str(HERE / "training.py"), url, "by two", endpoint], 2) == 0
    at(endpoint)
    found = fsspec.filesystem("s3").find(url.removeprefix("s3://"))
    parts = {path.split("/")[5] for path in found if "/0003-step-12/arrays/ocdbt" in path}
    assert parts == {"ocdbt.process_0", "ocdbt.process_1"}
    assert px.load_checkpoint(trained(None, 1), url).complete


def test_a_damaged_object_is_passed_over(url):
    trained(url, 2)
    files = fsspec.filesystem("s3")
    (name,) = [p for p in files.find(url.removeprefix("s3://")) if p.endswith("0002-step-8/state.json")]
    files.pipe_file(name, files.cat_file(name).replace(b"0", b"1", 1))
    with pytest.warns(UserWarning, match="state.json, whose content is not what was written"):
        same(trained(url, 3, resume=True), trained(None, 3))


def test_a_bucket_that_is_not_there(endpoint):
    at(endpoint)
    with pytest.raises(weights.FileError, match="a bucket that is there, got") as caught:
        trained("s3://no-such-bucket-at-all/run", 1)
    assert "create it, or check the address" in str(caught.value)


def test_no_credentials(endpoint, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(_place.time, "sleep", lambda seconds: pytest.fail("tried again"))
    at(endpoint)
    fsspec.config.conf["s3"] = {"endpoint_url": endpoint}
    with pytest.raises(weights.FileError, match=r"NoCredentialsError|PermissionError") as caught:
        px.CheckpointStore("s3://bucket/run").open()
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)


def test_nobody_answers(monkeypatch):
    waited = []
    monkeypatch.setattr(_place.time, "sleep", waited.append)
    at("http://127.0.0.1:9")
    fsspec.config.conf["s3"]["config_kwargs"] = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
    with pytest.raises(weights.FileError, match="look at the network and at the address"):
        px.CheckpointStore("s3://bucket/run").open()
    assert waited == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("seconds", [0.02, 0.3, 0.7])
def test_killed_and_started_again_it_ends_bit_for_bit(url, endpoint, seconds):
    """Killed so long after its second checkpoint begins to appear, wherever that is; then it goes on to its end."""
    files, root = fsspec.filesystem("s3"), url.removeprefix("s3://")
    command = [sys.executable, str(HERE / "training.py"), url, "200", endpoint]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while not any("/0002-" in path for path in _found(files, root)) and process.poll() is None:
            assert time.monotonic() < end, "nothing was saved"
        time.sleep(seconds)
        assert process.poll() is None, "it ended before it was killed"
    finally:
        process.kill()
        process.wait()
    at(endpoint)
    reached = px.CheckpointStore(url).newest().step
    epochs = reached // 4 + 2
    same(trained(url, epochs, resume=True), trained(None, epochs))


def _found(files, root):
    files.invalidate_cache()
    return files.find(root)
