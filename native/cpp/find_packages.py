"""Print where the headers of XLA's interface, oneDNN's headers, its library and its licences are, for CMake."""

import importlib.metadata
import importlib.util
from pathlib import Path


def file_of(package: str, name: str) -> Path:
    """The path of an installed package's file."""
    for file in importlib.metadata.files(package) or ():
        if file.name == name:
            return Path(file.locate()).resolve()
    raise SystemExit(f"{package} holds no file {name}")


jaxlib = importlib.util.find_spec("jaxlib")
assert jaxlib is not None, "jaxlib is needed to build phlox-cpu"
assert jaxlib.origin is not None
print(
    Path(jaxlib.origin).parent / "include",
    file_of("onednn-devel-cpu-gomp", "dnnl.hpp").parent,
    file_of("onednn-cpu-gomp", "libdnnl.so.3"),
    file_of("onednn-cpu-gomp", "THIRD-PARTY-PROGRAMS").parent,
    sep=";",
)
