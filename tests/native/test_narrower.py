"""The kernels on a processor with AVX2 alone: where this one has more, it is hidden from a process that tests them.

Each kernel has code for each set of instructions, and chooses when it is loaded.
"""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phlox.nn.functional.kernels._kernels import package

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent.parent / "benchmarks"))  # where all contenders of a race are held the same way
instructions = importlib.import_module("_instructions")

# Of each kernel the test that holds its values and gradients to another library's, or to whole numbers.
EACH = """
test_adam_kernel.py::test_steps_are_pytorchs
test_attention_kernels.py::test_value_and_gradients_are_pytorchs
test_conv_kernels.py::test_value_and_gradients_are_those_of_the_plain_form
test_gelu_kernels.py::test_value_and_slope_are_right_to_the_last_digits_in_both_tails
test_layer_norm_kernels.py::test_value_and_gradients_are_pytorchs
test_norm_kernels.py::test_value_and_gradients_are_pytorchs
test_pool_kernels.py::test_value_and_gradient_are_pytorchs
test_product_kernels.py::test_products_and_sums_of_whole_numbers_are_exact
test_recurrent_kernels.py::test_the_layer_is_pytorchs
"""


def held() -> dict[str, str]:
    """The environment of a process that sees AVX2 alone."""
    if not instructions.is_less("avx2"):
        pytest.skip("this processor has nothing wider than AVX2, or not even that")
    if instructions.narrower() is None:
        pytest.skip("wider instructions cannot be hidden here")
    return os.environ | instructions.env("avx2")


def test_wider_instructions_are_hidden_from_a_process():
    program = "import phlox_cpu; print(phlox_cpu.load().phlox_cpu_instructions().decode())"
    without = {k: v for k, v in held().items() if k != "ONEDNN_MAX_CPU_ISA"}  # so that it is not the variable's doing
    done = subprocess.run([sys.executable, "-c", program], env=without, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("AVX2", 0), done.stderr[-3000:]
    assert package().library.phlox_cpu_instructions().decode().startswith("AVX-512")


def test_a_compiler_that_a_held_process_starts_is_held_too():
    command = [shutil.which("cc") or "gcc", "-march=native", "-dM", "-E", "-x", "c", "/dev/null"]
    done = subprocess.run(command, env=held(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "__AVX2__" in done.stdout
    assert "__AVX512F__" not in done.stdout


def test_a_fault_of_the_program_still_ends_it_and_is_told_of():
    program = "import faulthandler, ctypes; faulthandler.enable(); ctypes.string_at(0)"
    alone = held() | {"LD_PRELOAD": instructions.narrower()}  # a sanitizer before it would tell of the fault itself
    done = subprocess.run([sys.executable, "-c", program], env=alone, capture_output=True, text=True, timeout=120)
    assert done.returncode == -11
    assert "Segmentation fault" in done.stderr


def run(tests: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=held(), cwd=HERE.parent.parent, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]


def test_kernels_give_the_same_numbers_with_avx2_alone():
    run([str(HERE / test) for test in EACH.split()])


@pytest.mark.soak
def test_all_tests_of_kernels_pass_with_avx2_alone():
    others = [path for path in sorted(HERE.glob("test_*.py")) if path.name not in (Path(__file__).name, "test_team.py")]
    run([*map(str, others), "-m", "not soak"])
