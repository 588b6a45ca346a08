"""Plan the training of Llamas of 1, 8 and 70 billion weights on TPUs: the table of docs/scale.md.

    .venv-plan/bin/python scripts/plans.py [--chips v5p:4x4x4 v6e:8x8] [--models 1B 8B 70B] [--write]

It compiles eighteen steps for 64 chips each, on this machine, without a TPU; --write enters the table into the page.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

import phlox as px
from phlox.core import bytes_text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
BEGIN, END = "<!-- plans: from here -->\n", "<!-- plans: to here -->\n"
TOKENS = (128, 4096)  # of a batch: two sequences for each of 64 chips
QUERIES = 1024  # of attention at a time
LLAMA = {"vocab_size": 128256, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "num_key_value_heads": 8}
CONFIGS = {
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64}
    | {"tie_word_embeddings": True},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    "70B": {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64},
}
STRATEGIES = ("fsdp(64)", "fsdp(16) * tensor_parallel(4)", "fsdp(8) * tensor_parallel(8)")
HEAD = """\
| Llama | chips | strategy | memory of a chip | operations | sent | step | MFU |
|---|---|---|---:|---:|---:|---:|---:|
"""


def llama(name: str) -> px.Module:
    """A Llama whose blocks are one repeated layer, computed again for the gradient."""
    config = px.models.LlamaConfig(**LLAMA | CONFIGS[name])
    one = dataclasses.replace(config, num_hidden_layers=1)

    def block() -> Any:
        made = px.models.Llama(dataclasses.replace(one, vocab_size=8)).blocks[0]
        made.attention.chunk = QUERIES
        return made

    model = px.models.Llama(one)
    model.blocks = [px.nn.RepeatedLayer(block, config.num_hidden_layers, remat=True)]
    return model


def next_token(model: Any, tokens: Any) -> Any:
    """The loss of a decoder; the last token has nothing to foretell, so that lengths stay powers of two."""
    return px.losses.cross_entropy(model(tokens)[:, :-1], tokens[:, 1:])


def planned(name: str, chips: str) -> px.parallel.Plan:
    """The plan of one Llama on some chips."""
    start = time.monotonic()

    def told(row: px.parallel.PlanRow) -> None:
        print(f"{name} {chips} {row.strategy!r}: {bytes_text(row.total)} {row.reason} after "
              f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)  # fmt: skip

    return px.parallel.plan(
        lambda: llama(name), px.optim.AdamW(1e-4), TOKENS, loss=next_token, precision="bf16", topology=chips,
        strategies=STRATEGIES, told=told,
    )  # fmt: skip


def rows(name: str, plan: px.parallel.Plan) -> str:
    """The lines of a plan in the table."""
    lines = []
    for row in plan.rows:
        numbers = ["", ""]
        if row.times is not None and row.mfu is not None:
            numbers = [f"{row.times.step:.2f} s", f"{100 * row.mfu:.0f} %"]
        memory = f"{bytes_text(row.total)}{'' if row.fits else ', too much'}"
        sent = "" if row.memory is None else bytes_text(row.sent_bytes)
        cells = [name, f"`{plan.topology}`", f"`{row.strategy!r}`", memory, f"{row.flops / 1e12:.0f} T", sent, *numbers]
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def main() -> int:
    """Do what the module says; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", nargs="+", default=["v5p:4x4x4", "v6e:8x8"])
    parser.add_argument("--models", nargs="+", default=list(CONFIGS), choices=CONFIGS)
    parser.add_argument("--write", action="store_true", help="enter the table into docs/scale.md")
    chosen = parser.parse_args()
    table = HEAD + "".join(rows(name, planned(name, chips)) for name in chosen.models for chips in chosen.chips)
    versions = f"jax {jax.__version__}, libtpu {importlib.metadata.version('libtpu')}"
    table += f"\nMade on {datetime.date.today()} with {versions}.\n"
    print(table)
    if chosen.write:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}{table}{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
