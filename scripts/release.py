"""Build both packages into dist/, look them over, and use them in an empty environment, as the README says.

Each wheel is built from its sdist. The empty environment, build/empty, takes the newest packages that the wheels allow.
phlox-cpu is built on Linux on x86-64; ``--no-kernels`` leaves it out.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from wheels import problems, problems_of_sdist, project_of

ROOT = Path(__file__).resolve().parent.parent
DIST, EMPTY = ROOT / "dist", ROOT / "build" / "empty"


def call(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints; the program ends with the status of one that fails."""
    print("$", " ".join(str(part).removeprefix(f"{ROOT}/") for part in command), flush=True)
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def built(folder: Path, package: str) -> Path:
    """The wheel of a project, built from its sdist, after a look at both."""
    before = set(DIST.iterdir()) if DIST.exists() else set()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(folder)]
    print(f"building {project_of(folder)['name']} {project_of(folder)['version']}", flush=True)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        sys.exit(done.stdout)
    new = sorted(set(DIST.iterdir()) - before, key=lambda path: path.suffix)
    sdist, wheel = new
    found = [*problems_of_sdist(sdist, folder), *problems(wheel, folder, package)]
    if found:
        sys.exit("\n".join(f"{wheel.name}: {problem}" for problem in found))
    print(f"  {sdist.name}, {wheel.name}: contents, hashes, metadata and licences are right")
    return wheel


def install(*what: str) -> None:
    """Install into the empty environment, and see that nothing there contradicts."""
    pip = [EMPTY / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    call(*pip, "install", "-q", "--only-binary", ":all:", *what)
    call(*pip, "check")


def try_out(phlox: Path, kernels: Path | None) -> None:
    """The README and the commands, with Phlox alone, then with the kernels, then with what the quickstart needs."""
    if EMPTY.exists():
        shutil.rmtree(EMPTY)
    venv.create(EMPTY, with_pip=True)
    python, command = EMPTY / "bin" / "python", EMPTY / "bin" / "phlox"
    with tempfile.TemporaryDirectory() as folder:
        readme = [python, "-I", "-W", "error", ROOT / "scripts" / "readme.py", ROOT / "README.md"]
        install(str(phlox))
        if call(command, "--version", cwd=Path(folder)).split() != ["phlox", project_of(ROOT)["version"]]:
            sys.exit("phlox --version says another version than the project")
        call(*readme, cwd=Path(folder))
        if kernels is not None:
            install(str(kernels))
            if "phlox-cpu" not in call(command, "doctor", cwd=Path(folder)):
                sys.exit("phlox doctor does not see the kernels")
            call(*readme, cwd=Path(folder))
        install(f"{phlox}[quickstart]")
        call(command, "quickstart", cwd=Path(folder))


def main() -> int:
    """Do what the module says; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-kernels", action="store_true", help="leave phlox-cpu out")
    wanted = not parser.parse_args().no_kernels and (platform.system(), platform.machine()) == ("Linux", "x86_64")
    shutil.rmtree(DIST, ignore_errors=True)
    phlox = built(ROOT, "phlox")
    kernels = built(ROOT / "native", "phlox_cpu") if wanted else None
    call(sys.executable, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir()))
    try_out(phlox, kernels)
    print("release:", ", ".join(path.name for path in sorted(DIST.iterdir())), "stand in dist/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
