"""One process runs what compiles the same programs: seen in a run of two processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

from kit import oracle

ROOT = Path(__file__).resolve().parents[1]
FILES = ("tests/test_house.py", "tests/test_seconds.py")


def test_the_tests_of_a_file_run_in_one_process():
    oracle("xdist")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "--dist",
        "loadscope",
        "-p",
        "no:cacheprovider",
        "-vv",
        *FILES,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, "CI": ""})
    ran = set(re.findall(r"^\[(gw\d)\] .* PASSED ([\w/.]+)::", done.stdout, re.MULTILINE))
    assert {file for _, file in ran} == set(FILES), done.stdout + done.stderr
    assert len(ran) == len(FILES), f"a file in several processes: {sorted(ran)}"
    assert len({process for process, _ in ran}) == 2
