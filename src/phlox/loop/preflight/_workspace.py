"""What the kernels of a CPU take beside what the compiler counts: copies of a convolution's operands.

The compiler's count of temporaries has the arrays between its kernels. A convolution copies its padded input, and
where it computes the gradient of a weight also the other operand, into the order that it works in, and gives that
back when it ends. One runs at a time, so the largest counts. Measured against the process's memory in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from phlox.core import Computation, Instruction, listed_bytes

_WINDOW = re.compile(r"window=\{([^}]*)\}")
_LABELS = re.compile(r"dim_labels=(\w+)_")


def workspace(program: Mapping[str, Computation]) -> int:
    """Bytes that the convolution with the largest operands takes for itself."""
    found = [0]
    for computation in program.values():
        lines = {line.name: line for line in computation.instructions}
        found += [
            _copied(line, lines[line.operands[0]], lines[line.operands[1]])
            for line in computation.instructions
            if line.kind == "convolution"
        ]
    return max(found)


def _copied(line: Instruction, x: Instruction, kernel: Instruction) -> int:
    bits, sizes = x.shapes[0]
    padded = list(sizes)
    window, labels = _WINDOW.search(line.text), _LABELS.search(line.text)
    options = dict(part.split("=") for part in window[1].split()) if window else {}
    for i, pad in enumerate(options["pad"].split("x") if "pad" in options else []):
        low, high = map(int, pad.split("_"))
        assert labels is not None
        padded[labels[1].index(str(i))] += low + high
    return listed_bytes(bits, padded) + listed_bytes(*kernel.shapes[0])
