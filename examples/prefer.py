"""Direct preference optimisation: a small GPT that documents functions learns that short answers are preferred.

Run it: ``python examples/prefer.py``. A base model learns calls of the standard library with their docstrings. It
writes two answers for each of many calls, of which the shorter one is preferred; from such pairs it then learns, no
further from what it was than it must. It takes about a minute on a CPU.
"""

import argparse

import jax
import numpy as np
from python_docs import entries
from train_gpt import END, NOTHING, packed, tokenizer_of
from train_gpt import loss as base_loss

import phlox as px
from phlox.data.text import Tokenizer

Pairs = dict[str, np.ndarray]
HELD_OUT = 100  # calls


def base(
    texts: list[str], tokenizer: Tokenizer, steps: int, *, dim: int, layers: int, time: int, rate: float
) -> px.models.GPT2:
    """A model that has read calls with their docstrings."""
    config = px.models.GPT2Config(
        vocab_size=len(tokenizer), n_positions=time, n_embd=dim, n_layer=layers, n_head=4,
        bos_token_id=END, eos_token_id=END, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    with px.seed(0):
        model = px.models.create(config)
    rule = px.optim.AdamW(px.optim.one_cycle(rate, steps, rise=0.1))
    rows = packed(tokenizer.encode(texts), time)
    px.fit(model, rows, loss=base_loss, optimizer=rule, steps=steps, batch_size=16, clip=1.0)
    return model


def answers(model: px.models.GPT2, prompts: list[list[int]], most: int, seed: int) -> px.models.Generated:
    """One for each prompt, drawn as the model hopes."""
    return px.generate(model, prompts, max_new=most, temperature=1.0, key=jax.random.key(seed))


def rows_of(prompts: list[list[int]], written: list[list[int]], time: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (texts, time) of prompts with their answers, and as targets the answers' alone."""
    tokens = np.full((len(prompts), time), END, np.int32)
    targets = np.full((len(prompts), time), NOTHING, np.int32)
    for row, target, prompt, answer in zip(tokens, targets, prompts, written, strict=True):
        row[: len(prompt) + len(answer)] = prompt + answer
        target[len(prompt) - 1 : len(prompt) + len(answer) - 1] = answer
    return tokens, targets


@px.jit
def said(model: px.models.GPT2, tokens: jax.Array, targets: jax.Array) -> jax.Array:
    """The log-probability (texts,) of each answer."""
    return px.losses.sequence_log_prob(model(tokens), targets)


def known(model: px.models.GPT2, rows: tuple[np.ndarray, np.ndarray], batch: int = 50) -> np.ndarray:
    """The same of many."""
    tokens, targets = rows
    parts = [said(model, tokens[i : i + batch], targets[i : i + batch]) for i in range(0, len(tokens), batch)]
    return np.concatenate(parts)


def pairs(model: px.models.GPT2, prompts: list[list[int]], most: int, time: int) -> Pairs:
    """Two answers for each prompt: the shorter, the longer, and what the model thinks of them before it learns."""
    two = [answers(model, prompts, most, seed).texts() for seed in (1, 2)]
    sets = [sorted(both, key=len) for both in zip(*two, strict=True)]
    unequal = [n for n, (short, long) in enumerate(sets) if len(short) < len(long)]
    found: Pairs = {}
    for name, at in (("chosen", 0), ("rejected", 1)):
        rows = rows_of([prompts[n] for n in unequal], [sets[n][at] for n in unequal], time)
        found |= {name: rows[0], f"{name}_targets": rows[1], f"{name}_before": known(model, rows)}
    return found


def loss(model: px.models.GPT2, pair: dict[str, jax.Array]) -> jax.Array:
    """What is chosen shall gain on what is rejected."""
    chosen, rejected = (said(model, pair[name], pair[f"{name}_targets"]) for name in ("chosen", "rejected"))
    return px.losses.dpo_loss(chosen, rejected, pair["chosen_before"], pair["rejected_before"], beta=0.1)


def prefers(model: px.models.GPT2, pairs: Pairs) -> float:
    """The share of pairs of which the chosen text has gained on the other; a half of those where neither has."""
    gained = [known(model, (pairs[n], pairs[f"{n}_targets"])) - pairs[f"{n}_before"] for n in ("chosen", "rejected")]
    return float((np.sign(np.round(gained[0] - gained[1], 3)) + 1).mean() / 2)


def measured(
    model: px.models.GPT2, before: px.models.GPT2, held_out: Pairs, prompts: list[list[int]], most: int, time: int
) -> dict[str, float]:
    """How it prefers, how long its answers are, and how far they are from what it was, in nats for each."""
    written = answers(model, prompts, most, seed=3)
    rows = rows_of(prompts, written.texts(), time)
    drift = known(model, rows) - known(before, rows)
    return {"preferred": prefers(model, held_out), "tokens": float(written.lengths.mean()), "KL": float(drift.mean())}


def main(
    steps: int = 300, preference_steps: int = 60, *, count: int = 600, dim: int = 96, layers: int = 2, most: int = 40,
    size: int = 800, rate: float = 5e-3, preference_rate: float = 3e-4,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Learn to write, then what is preferred; what is measured before and after, on calls held out."""
    found, time = [entry for entry in entries() if len(entry.call) < 60], 128
    tokenizer = tokenizer_of([f"{entry.call}\n{entry.text}" for entry in found], size)
    learn = found[HELD_OUT:]
    options = {"dim": dim, "layers": layers, "time": time, "rate": rate}
    model = base([f"{entry.call}\n{entry.text}" for entry in learn], tokenizer, steps, **options)
    before = px.copy(model)
    prompts = tokenizer.encode([f"{entry.call}\n" for entry in found[: HELD_OUT + count]], special=False)
    held_out = pairs(model, prompts[:HELD_OUT], most, time)
    results = {"before": measured(model, before, held_out, prompts[:HELD_OUT], most, time)}
    train = pairs(model, prompts[HELD_OUT:], most, time)
    rule = px.optim.AdamW(px.optim.one_cycle(preference_rate, preference_steps, rise=0.2))
    px.fit(model, train, loss=loss, optimizer=rule, steps=preference_steps, batch_size=16, clip=1.0)
    results["after"] = measured(model, before, held_out, prompts[:HELD_OUT], most, time)
    print(f"{'':8}{'pairs preferred rightly':>25}{'tokens of an answer':>21}{'KL of an answer':>17}")
    for name, row in results.items():
        print(f"{name:8}{row['preferred']:25.0%}{row['tokens']:21.1f}{row['KL']:17.2f}")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of the base model")
    parser.add_argument("--preference-steps", type=int, default=60)
    options = parser.parse_args()
    main(options.steps, options.preference_steps)
