"""Programs that are not Python, with an exported model: their numbers are the model's."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "deploy"


@pytest.fixture(scope="session")
def library():
    """ONNX Runtime's shared library, which its wheel has."""
    [found] = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")
    return found


@pytest.fixture(scope="session")
def in_cpp(library, tmp_path_factory):
    """The program in C++, built."""
    program = tmp_path_factory.mktemp("cpp") / "deploy"
    source = EXAMPLES / "cpp" / "main.cpp"
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", source, "-o", program, "-ldl"], check=True
    )
    return [str(program), str(library)]


@pytest.fixture(scope="session")
def in_node(packages, tmp_path_factory):
    """The program for Node, beside the packages that it takes."""
    place = tmp_path_factory.mktemp("node")
    shutil.copyfile(EXAMPLES / "node" / "run.mjs", place / "run.mjs")
    (place / "node_modules").symlink_to(packages)
    return ["node", str(place / "run.mjs")]


@pytest.fixture(scope="session")
def drawing(example, tmp_path_factory):
    """A digit as a file, and as an array."""
    program = example("digits")
    picture = program.drawn(program.pictures()[0][5:6])
    path = tmp_path_factory.mktemp("drawing") / "digit.raw"
    picture.tofile(path)
    return path, picture


def printed(command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return {name: np.array(numbers, float) for name, *numbers in rows}, done.stderr


@pytest.mark.parametrize("which", ["in_cpp", "in_node"])
def test_a_program_prints_the_models_numbers(which, digits, read, drawing, request):
    command, (model, folder), (path, picture) = request.getfixturevalue(which), digits, drawing
    place = folder / "model.onnx" if which == "in_cpp" else folder
    found, told = printed([*command, place, path, 3])
    assert list(found) == ["shares"]
    np.testing.assert_allclose(found["shares"], read(model, picture)[0], atol=1e-5)
    numbers = json.loads(told.strip().splitlines()[-1])
    assert numbers["start"] > numbers["call"] > 0
    assert numbers["memory"] > 10
    without, _ = printed([*command, place, path])
    np.testing.assert_array_equal(without["shares"], found["shares"])


def test_the_program_in_cpp_says_what_is_wrong(in_cpp, digits, drawing, tmp_path):
    program, library = in_cpp
    wrong = [
        ([program, library], 2, "usage: deploy LIBRARY MODEL INPUT"),
        ([program, "/nowhere.so", digits[1] / "model.onnx", drawing[0]], 1, "nowhere.so"),
        ([program, library, tmp_path / "none.onnx", drawing[0]], 1, "none.onnx"),
        ([program, library, digits[1] / "model.onnx", tmp_path / "none.raw"], 1, "cannot read"),
        ([program, library, digits[1] / "model.onnx", digits[1] / "bundle.json"], 1, ""),
    ]
    for command, status, text in wrong:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        assert done.returncode == status
        assert text in done.stderr
        assert not done.stdout


def test_the_program_in_cpp_is_built_by_cmake(tmp_path):
    subprocess.run(["cmake", "-S", EXAMPLES / "cpp", "-B", tmp_path], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", tmp_path], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "deploy").exists()
