"""What configs of models with a task have in common, and those of text models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from phlox.core import RangeError
from phlox.models._config import Config

TRUNK = "feature-extraction"
WRITING = "text-generation"
LABELLING = ("text-classification", "token-classification", "audio-classification")  # their heads tell classes apart

NEUTRAL = frozenset(
    {
        "add_cross_attention", "bad_words_ids", "begin_suppress_tokens", "cross_attention_hidden_size",
        "decoder_start_token_id", "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing",
        "is_decoder", "length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups",
        "num_beams", "num_return_sequences", "output_scores", "prefix", "pretraining_tp", "remove_invalid_values",
        "repetition_penalty", "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params",
        "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class", "top_k", "top_p",
        "transformers.js_config", "typical_p", "use_cache",
    }
)  # fmt: skip
"""Keys of older files, of generating, and of switches that change no number."""


@dataclass(frozen=True, kw_only=True)
class TaskConfig(Config):
    """A model with a head by task.

    Arguments:
        task: what the head is for: ``"feature-extraction"`` is none.
    """

    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {}
    """By task, what ``config.json`` calls the class of the model: the one that is written, and others that are read."""
    neutral: ClassVar[frozenset[str]] = NEUTRAL

    task: str = TRUNK
    classes: int = 2

    def __post_init__(self) -> None:
        self.with_task(self.task)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """The config that the entries of a ``config.json`` say; the task is that of its architecture.

        Raises:
            OptionError: an entry of the wrong type.
            RangeError: a size below zero or beyond reason, or an option or a head that Phlox does not have.
        """
        return replace(super().from_dict(entries), task=cls._task(entries.get("architectures")))

    @classmethod
    def _task(cls, architectures: Any) -> str:
        """The task of the first architecture; where none is named, that of a plain config."""
        if not isinstance(architectures, list | tuple) or not architectures:
            return cls.task
        for task, names in cls.architectures.items():
            if architectures[0] in ((names,) if isinstance(names, str) else names):
                return task
        known = ", ".join(name if isinstance(name, str) else name[0] for name in cls.architectures.values())
        trunk = TRUNK if TRUNK in cls.architectures else cls.task
        raise RangeError(
            f"an architecture among {known}", got=repr(architectures[0])[:100],
            fix=f'set it in config.json to the one of its trunk, {cls._architecture(trunk)}, or pass task=',
            where=f"{cls.__name__}.from_dict",
        )  # fmt: skip

    @classmethod
    def _architecture(cls, task: str) -> str:
        names = cls.architectures[task]
        return names if isinstance(names, str) else names[0]

    def to_dict(self) -> dict[str, Any]:
        """The entries of a ``config.json``: what ``from_dict`` reads, and what the hub's libraries ask for."""
        return {**super().to_dict(), "architectures": [self._architecture(self.task)]}

    def with_task(self, task: str | None) -> Self:
        """The same with the head of another task; with None, this one.

        Raises:
            RangeError: a task that the family has no head for.
        """
        if task is None or (task == self.task and task in self.architectures):
            return self
        if task not in self.architectures:
            known = ", ".join(map(repr, self.architectures))
            where = type(self).__name__
            raise RangeError(f"a task among {known}", got=repr(task)[:100], fix="choose one of these", where=where)
        return replace(self, task=task)

    def with_classes(self, classes: int | None, labels: tuple[str, ...] = ()) -> Self:
        """The same with another number of classes, 0 for the trunk alone; with None, this one.

        Raises:
            RangeError: classes for a head that has none.
        """
        if classes == 0:
            return self.with_task(TRUNK)
        if classes is not None and self.task not in LABELLING:
            labelling = next((task for task in LABELLING if task in self.architectures), None)
            fix = f"pass task={labelling!r} too" if labelling else "leave it out: no head of this family has classes"
            where = type(self).__name__
            raise RangeError(f"no classes for {self.task!r}", got=f"classes={classes}", fix=fix, where=where)
        return super().with_classes(classes, labels)

    def without_head(self) -> Self:
        """The same for the trunk alone, as a file may hold it."""
        return self.with_task(TRUNK)

    def same_head(self, other: Config) -> bool:
        """Whether both have a head of the same form, whatever its size."""
        return isinstance(other, TaskConfig) and self.task == other.task


@dataclass(frozen=True, kw_only=True)
class TextConfig(TaskConfig):
    """A model of text.

    Arguments:
        vocab_size: tokens that there are.
        pad_token_id, bos_token_id, eos_token_id: tokens that mean nothing, a beginning, and an end, or several ends.
        tie_word_embeddings: whether the head that scores tokens has the weights of their embedding.

    ``task`` says what the head is for.
    """

    vocab_size: int = 32000
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    tie_word_embeddings: bool = True

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """As every config with a task; a token of -1, as early Llamas have it, is none."""
        none = {k: None for k in ("pad_token_id", "bos_token_id", "eos_token_id") if entries.get(k) == -1}
        return super().from_dict({**entries, **none})

    def without_head(self) -> Self:
        """The same for the trunk alone, as a file may hold it; a head that is the embedding has nothing of its own."""
        return self if self.task == WRITING and self.tie_word_embeddings else super().without_head()
