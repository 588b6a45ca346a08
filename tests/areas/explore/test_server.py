"""Who is answered by the page's server, and what ``phlox explore`` says."""

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import phlox as px

X = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def page():
    with px.interpret.explore(px.Dense(2, 2, key=0), X, hosts=["box.local"]) as explorer:
        yield explorer


def answer(page, path="/", **headers):
    """The status and the body of an answer; the body of an opened connection is not waited for."""
    with contextlib.closing(http.client.HTTPConnection(page.url.removeprefix("http://"), timeout=60)) as connection:
        connection.putrequest("GET", path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        with connection.getresponse() as response:
            return response.status, "" if response.status == 101 else response.read().decode()


def test_it_answers_by_its_own_names_alone(page):
    port = page.url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"box.local:{port}"):
        assert answer(page, Host=host)[0] == 200
    for host in (f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}"):
        for path in ("/", "/static/js/bokeh.min.js", "/ws", "/autoload.js"):
            status, said = answer(page, path, Host=host)
            assert status == 403
            assert "answers by no other name" in said


def test_a_page_of_another_site_cannot_open_a_connection(page):
    token = re.search(r'"token":\s*"([^"]+)"', answer(page)[1]).group(1)
    shaken = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec_WebSocket_Protocol": f"bokeh, {token}",
    }
    assert answer(page, "/ws", Origin="http://evil.example", **shaken)[0] == 403
    assert answer(page, "/ws", Origin=page.url, **shaken)[0] == 101


def test_a_port_that_is_taken_is_told(page):
    port = int(page.url.rpartition(":")[2])
    with pytest.raises(px.RangeError, match=f"expects 127.0.0.1:{port} to be free"):
        px.interpret.explore(px.Dense(2, 2, key=0), X, port=port)


def test_it_ends_and_frees_its_port():
    explorer = px.interpret.explore(px.Dense(2, 2, key=0), X)
    port = int(explorer.url.rpartition(":")[2])
    assert "20 rows" in repr(explorer)
    assert explorer.url in explorer._repr_html_()
    explorer.stop()
    explorer.stop()
    px.interpret.explore(px.Dense(2, 2, key=0), X, port=port).stop()


# --- phlox explore -------------------------------------------------------------------------------


def phlox(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "phlox", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command_shows_a_saved_model(cancer, person, tmp_path):
    frame, model = cancer
    px.save(model, tmp_path / "tumours.phlox")
    frame.to_csv(tmp_path / "data.csv", index=False)
    command = [sys.executable, "-m", "phlox", "explore", str(tmp_path / "tumours.phlox"), str(tmp_path / "data.csv")]
    command += ["--target", "diagnosis", "--compare", str(tmp_path / "tumours.phlox")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            line = running.stdout.readline()
            found = re.fullmatch(r"exploring 569 rows at (http://127\.0\.0\.1:\d+)\n", line)
            assert found, line + running.stderr.read()
            person.open(found.group(1))
            assert person.chrome.value("document.title") == "Explore tumours and tumours (2)"
            assert "0.9" in person.text("answers")
        finally:
            running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130


def test_pictures_in_a_file_are_shown(tmp_path, person):
    px.save(px.Chain(px.flatten, px.Dense(64, 10, key=0)), tmp_path / "digits.phlox")
    x, y = px.data.digits()
    np.savez(tmp_path / "digits.npz", x=x[:50], y=y[:50])
    command = [sys.executable, "-m", "phlox", "explore", str(tmp_path / "digits.phlox"), str(tmp_path / "digits.npz")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            url = running.stdout.readline().split()[-1]
            person.open(url)
            assert "50 pictures" in person.chrome.value("document.querySelector('header p').innerText")
        finally:
            running.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        ("none.csv", [], "expects a file, got"),
        ("model.phlox", [], "expects a table, or arrays in a .npz file, got model.phlox"),
        ("bad.parquet", [], "expects bad.parquet to be a .parquet file, got"),
        ("data.csv", ["--target", "sick"], "expects target among a, b, got 'sick'"),
        ("data.csv", ["--features", "a"], "expects (..., 2), got float32[2, 1]"),
    ],
)
def test_what_is_wrong_is_one_message(data, more, message, tmp_path):
    px.save(px.Dense(2, 2, key=0), tmp_path / "model.phlox")
    (tmp_path / "data.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    done = phlox("explore", str(tmp_path / "model.phlox"), str(tmp_path / data), *more)
    assert done.returncode == 1
    assert done.stderr.startswith("phlox: ")
    assert message in done.stderr
    assert "\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr
    json.dumps(done.stdout)
