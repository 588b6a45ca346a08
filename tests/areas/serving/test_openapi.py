"""What the OpenAPI page promises, tried by schemathesis: no request within it, or nearly so, finds an error of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_requests_of_the_page_are_answered_as_it_says(served, tmp_path: Path):
    command = [Path(sys.executable).with_name("schemathesis"), "run", f"{served.url}/openapi.json"]
    options = ["--checks", CHECKS, "--max-examples", "40", "--seed", "0", "--no-color", "--mode", "all"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=570, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
