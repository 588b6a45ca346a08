"""A small GPT that has read Python's documentation learns to answer "What does … do?", by adapters of low rank alone.

Run it: ``python examples/tune_instructions.py``. A base model reads documentation strings; then it is frozen, and LoRA
on its attention learns questions and answers, packed in rows, of which the answers' tokens alone count. It takes about
a minute on a CPU. With ``--out FOLDER`` the tuned model is written there, for ``phlox chat FOLDER``.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from python_docs import entries
from train_gpt import END, NOTHING, docstrings, loss, packed, perplexity, tokenizer_of

import phlox as px
from phlox.data.text import Tokenizer

HELD_OUT = 200  # questions
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}Question: {{ m.content }}\nAnswer:"
    "{% else %}{% generation %} {{ m.content }}<end>{% endgeneration %}{% endif %}{% endfor %}"
)
Chat = list[dict[str, str]]


def chats() -> list[Chat]:
    """A question about each function or class of the standard library, and the first sentence of its docstring."""
    found = {entry.text.partition(". ")[0].rstrip(".") + ".": entry.call for entry in entries()}
    return [
        [{"role": "user", "content": f"What does {call} do?"}, {"role": "assistant", "content": answer}]
        for answer, call in found.items()
    ]


def rows_of(chats: list[Chat], tokenizer: Tokenizer, time: int) -> dict[str, np.ndarray]:
    """Rows (rows, time) of several chats each; the targets are the tokens of answers alone."""
    batch = tokenizer.chat_tokens(chats, length=time, assistant=True)
    following = np.where(batch.assistant, batch.tokens, NOTHING)[:, 1:]
    targets = np.pad(following, ((0, 0), (0, 1)), constant_values=NOTHING)
    sides = ((batch.tokens, END), (targets, NOTHING))
    rows, answers = (px.data.text.pack([x[m] for x, m in zip(side, batch.mask, strict=True)], time, value=value)
                     for side, value in sides)  # fmt: skip
    return {"tokens": rows.tokens, "segments": rows.segments, "targets": answers.tokens}


def fit(model: px.models.GPT2, rows: dict[str, np.ndarray], steps: int, rate: float) -> None:
    """Learn from rows of texts."""
    rule = px.optim.AdamW(px.optim.one_cycle(rate, steps, rise=0.1))
    px.fit(model, rows, loss=loss, optimizer=rule, steps=steps, batch_size=16, clip=1.0)


def trained(model: px.models.GPT2) -> int:
    """How many numbers learn."""
    return sum(array.size for array in jax.tree.leaves(px.split(model)[0]))


def answer(model: px.models.GPT2, tokenizer: Tokenizer, chat: Chat) -> str:
    """What it says to a question."""
    prompt = tokenizer.encode(tokenizer.chat(chat[:1]), special=False)
    generated = px.generate(model, [prompt], max_new=30, repetition_penalty=1.3, stop=[END])
    return tokenizer.decode(generated.texts()[0]).strip()


def main(
    steps: int = 200, tuning_steps: int = 100, out: str | None = None, *, dim: int = 128, layers: int = 2,
    time: int = 128, size: int = 1024, files: int | None = None, most: int | None = None,
) -> dict[str, float]:  # fmt: skip
    """Read, then learn to answer; perplexities of answers that are held out, before and after."""
    questions = chats()[:most]
    held, learn = questions[:HELD_OUT], questions[HELD_OUT:]
    hidden = {chat[1]["content"] for chat in held}
    texts = [text for text in docstrings(files)[0] if not any(answer in " ".join(text.split()) for answer in hidden)]
    said = [part["content"] for chat in learn for part in chat]
    tokenizer = tokenizer_of([*texts, *said], size, pad_token="<end>", chat_template=TEMPLATE)
    config = px.models.GPT2Config(
        vocab_size=len(tokenizer), n_positions=time, n_embd=dim, n_layer=layers, n_head=4,
        bos_token_id=END, eos_token_id=END, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    with px.seed(0):
        model = px.models.create(config)
    fit(model, packed(tokenizer.encode(texts), time), steps, 3e-3)
    whole, test = trained(model), rows_of(held, tokenizer, time)
    results, asked = {"base": perplexity(model, test)}, learn[0]
    answers = [answer(model, tokenizer, asked)]
    px.adapt.lora(model, rank=8, where=["**.*_proj", "**.mlp.layers.*"], key=0)
    fit(model, rows_of(learn, tokenizer, time), tuning_steps, 1e-2)
    results["tuned"] = perplexity(model, test)
    answers.append(answer(model, tokenizer, asked))
    print(f"{'':8}{'perplexity of held-out answers':>32}{'numbers that learned':>22}   {asked[0]['content']}")
    for (name, value), count, text in zip(results.items(), (whole, trained(model)), answers, strict=True):
        print(f"{name:8}{value:32.1f}{count:22,}   {text!r}")
    if out is not None:
        px.models.save(px.adapt.merge(model), out)
        tokenizer.save(Path(out))
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="of reading")
    parser.add_argument("--tuning-steps", type=int, default=100)
    parser.add_argument("--out", metavar="FOLDER")
    options = parser.parse_args()
    main(options.steps, options.tuning_steps, options.out)
