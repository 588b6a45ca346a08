"""Texts, and what rouge-score says of them: ``python tests/metrics/rouge_oracle.py`` writes rouge_answers.json.

The package has no wheel, so that no environment of ours holds it: ``pip install rouge-score`` where the answers are to
be made anew.
"""

import json
import random
from pathlib import Path

ANSWERS = Path(__file__).with_name("rouge_answers.json")
KINDS = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]
TEXT = "the cat sat on a mat The CAT, mat. x-ray 3.5 don't naïve 日本 _ a\nb \n \n\n"
WORDS = TEXT.split(" ")


def pairs():
    """80 texts with one to three targets, lines and empty ones among them, from a fixed generator."""
    draw = random.Random(0)

    def text():
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(0, 14)))

    return [(text(), [text() for _ in range(draw.randint(1, 3))]) for _ in range(80)]


def answers():
    """For each pair precision, recall and F of each kind."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(KINDS)
    scores = [scorer.score_multi(targets, text) for text, targets in pairs()]
    return [[[float(n) for n in score[kind]] for kind in KINDS] for score in scores]


if __name__ == "__main__":
    rows = ",\n".join(json.dumps(row) for row in answers())
    ANSWERS.write_text(f"[\n{rows}\n]\n", "utf-8")
