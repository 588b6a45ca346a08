"""The tokenizer: texts as numbers and back, over the library ``tokenizers``."""

from __future__ import annotations

import copy
import dataclasses
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np

from phlox.core import RangeError, StructureError, UnknownNameError, answering
from phlox.data._observations import whole
from phlox.data.augmentation._sequences import TokenMask
from phlox.data.text._bytes import reader_of
from phlox.data.text._chat import ChatTemplate, Messages
from phlox.data.text._inputs import cleaned, is_batch, numbers, texts_of
from phlox.data.text._legacy import from_vocabulary
from phlox.data.text._library import check_library, from_file, make_ready, own_settings
from phlox.data.text._padding import Pad, Side, time_of
from phlox.data.text._saving import files_of, write_files
from phlox.data.text._settings import NAMES, Settings, check_side, content, read_entries, settings_of
from phlox.data.text._tokens import Tokens, mask_of, rows_of, tokens_within
from phlox.weights import MissingFileError

Truncate = Literal["longest_first", "first", "second"] | bool
_STRATEGIES = {True: "longest_first", "longest_first": "longest_first", "first": "only_first", "second": "only_second"}
_FOREIGN = {
    "batch_encode_plus": "call it: tok(texts, length=…)",
    "encode_plus": "call it: tok(texts, length=…)",
    "batch_decode": "write tok.decode(rows)",
    "apply_chat_template": "write tok.chat(messages), or tok.chat_tokens(conversations)",
    "convert_tokens_to_ids": "read tok.vocab[token]",
    "convert_ids_to_tokens": "write tok.pieces(ids)",
    "get_vocab": "read tok.vocab",
    "vocab_size": "write len(tok)",
    "from_pretrained": "write px.data.text.Tokenizer.load(folder)",
    "save_pretrained": "write tok.save(folder)",
    "encode_batch": "write tok.encode(texts)",
} | {f"{name}_token_id": f"read tok.{name}_id" for name in NAMES}


class Tokenizer:
    """Texts as numbers of tokens and back: a tokenizer of the library ``tokenizers`` with what stands beside it.

    ``Tokenizer.load(folder)`` reads the files of a model. A call gives arrays, padded and with their mask:

    Shapes:
        a call: ``Tokens`` of (batch, time); ``decode``: (time,) or (batch, time) of whole numbers.

    Arguments:
        tokenizer: a ``tokenizers.Tokenizer``, of which a copy is kept.
        pad_token, bos_token, eos_token, unk_token, cls_token, sep_token, mask_token: special tokens; what the
            vocabulary lacks is added to it.
        extra_special_tokens: further ones.
        padding_side, truncation_side: where texts are filled up and cut; by default as the tokenizer has it, or right.
        model_max_length: the most tokens that the model takes; longer texts are cut.
        clean_up_tokenization_spaces: whether ``decode`` takes out spaces before punctuation; BPE is left as it is.
        add_bos_token, add_eos_token: put these tokens at the ends; None leaves it to the tokenizer.
        chat_template: how a chat becomes a text: a template of jinja2, or several by name.

    Raises:
        MissingExtraError: the library is not installed. StructureError: no tokenizer of the library.

    >>> import tokenizers, phlox as px
    >>> words = {"[PAD]": 0, "[UNK]": 1, "to": 2, "be": 3, "or": 4, "not": 5}
    >>> library = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    >>> library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    >>> tok = px.data.text.Tokenizer(library, pad_token="[PAD]", unk_token="[UNK]")
    >>> batch = tok(["to be or not", "to see"])
    >>> batch.tokens.tolist(), batch.mask.sum(1).tolist()
    ([[2, 3, 4, 5], [2, 1, 0, 0]], [4, 2])
    >>> tok.decode(batch.tokens)
    ['to be or not', 'to']
    """

    @answering
    def __init__(
        self,
        tokenizer: Any,
        *,
        pad_token: str | None = None,
        bos_token: str | None = None,
        eos_token: str | None = None,
        unk_token: str | None = None,
        cls_token: str | None = None,
        sep_token: str | None = None,
        mask_token: str | None = None,
        extra_special_tokens: Sequence[str] = (),
        padding_side: Side | None = None,
        truncation_side: Side | None = None,
        model_max_length: int | None = None,
        clean_up_tokenization_spaces: bool = False,
        add_bos_token: bool | None = None,
        add_eos_token: bool | None = None,
        chat_template: str | Mapping[str, str] | None = None,
    ):
        entries = {name: given for name, given in locals().items() if name not in ("self", "tokenizer")}
        entries = {name: given for name, given in entries.items() if given is not None and given != ()}
        if model_max_length is not None:
            whole("Tokenizer", "model_max_length", model_max_length)
        check_library(tokenizer)
        self._hold(tokenizer, settings_of({**own_settings(tokenizer), **entries}, "Tokenizer"))

    def _hold(self, tokenizer: Any, settings: Settings) -> None:
        self._library, self._settings = copy.deepcopy(tokenizer), settings
        self._lock = threading.Lock()  # the library keeps how to cut texts in the tokenizer
        make_ready(self._library, settings)

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> Self:
        """The tokenizer of a folder, or of one ``tokenizer.json`` alone.

        Read are ``tokenizer.json``, ``tokenizer_config.json``, ``special_tokens_map.json``, ``added_tokens.json`` and
        chat templates; without the first also ``vocab.txt`` (WordPiece) and ``vocab.json`` with ``merges.txt`` (the
        byte-level BPE of GPT-2 and RoBERTa). Where there is a ``tokenizer.json``, it says which tokens come at the
        ends, as in transformers 5.

        Raises:
            FileError: nothing of this is there, or it cannot be read. MissingExtraError: without the extra ``text``.
        """
        path, where = Path(source), f"Tokenizer.load({os.fspath(source)!r})"
        if not path.exists():
            fix = "check the name; px.models.load fetches folders of the hub"
            raise MissingFileError("a folder or a tokenizer.json", got="nothing there", fix=fix, where=where)
        file, folder = (path / "tokenizer.json", path) if path.is_dir() else (path, None)
        if folder is not None and not file.is_file():
            tokenizer, own = from_vocabulary(folder, where)
        else:
            tokenizer = from_file(file, where)
            own = own_settings(tokenizer)
        found = {} if folder is None else read_entries(folder, file.is_file(), where)
        made = cls.__new__(cls)
        made._hold(tokenizer, settings_of({**own, **found}, where))
        return made

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json``, ``tokenizer_config.json``, ``special_tokens_map.json`` and the chat templates.

        Transformers' ``AutoTokenizer`` reads them as the same tokenizer. Each file appears whole or not at all.

        Raises:
            FileError: the files cannot be written.
        """
        where = f"Tokenizer.save({os.fspath(folder)!r})"
        write_files(Path(folder), files_of(self._library, self._settings, where), where)

    # --- texts to numbers ---------------------------------------------------------------------------

    @answering
    def __call__(
        self,
        texts: str | Sequence[Any],
        pairs: str | Sequence[Any] | None = None,
        *,
        length: int | None = None,
        truncate: Truncate = "longest_first",
        side: Side | None = None,
        pad: Pad = True,
        special: bool = True,
        offsets: bool = False,
        split: bool = False,
    ) -> Tokens:
        """A batch of texts, or of pairs of texts, as arrays of one length.

        Arguments:
            texts: the texts; one alone is a batch of one.
            pairs: the second text of each.
            length: the most tokens of a text or pair, special ones included; by default what the model takes.
            truncate: what is cut where there are more: the longer one of a pair first, the ``"first"`` or
                the ``"second"`` alone; False refuses.
            side: where they are filled up and cut; by default as the files say it of each.
            pad: True or ``"longest"``, ``"length"``, the multiple to pad to, or several lengths of which the
                first is taken that holds the longest; False wants texts of one length.
            special: add special tokens such as those at the ends.
            offsets: tell also where each token is in its text, in which word and in which text of a pair.
            split: texts are lists of words already.

        Raises:
            RangeError: a text that is too long and not to be cut; a length that leaves no room for special tokens.
            StructureError: what is no text; no pad token where padding is needed.
        """
        where = "Tokenizer"
        inputs = texts_of(texts, pairs, split, where)
        for given in [] if side is None else [side]:
            check_side(given, "side", where)
        if truncate is not False and truncate not in _STRATEGIES:
            fix = 'give "longest_first", "first", "second" or False'
            raise RangeError("a way to cut pairs", got=repr(truncate), fix=fix, where=where)
        limit = self._settings.length if length is None else whole(where, "length", length)
        cut = None
        if limit is not None and truncate is not False:
            self._check_room(limit, pairs is not None, special)
            cut = {
                "max_length": limit,
                "strategy": _STRATEGIES[truncate],
                "direction": side or self._settings.truncation_side,
            }
        encodings = self._encodings(inputs, special, split, cut, offsets)
        return self._arrays(encodings, side or self._settings.padding_side, pad, limit if cut else length, offsets)

    def _check_room(self, length: int, pair: bool, special: bool) -> None:
        needed = self._library.num_special_tokens_to_add(pair) if special else 0
        if length < needed:
            fix = "raise length, or give special=False"
            raise RangeError(f"a length of at least {needed}", got=str(length), fix=fix, where="Tokenizer")

    def _encodings(
        self, inputs: list[Any], special: bool, split: bool, cut: dict[str, Any] | None, exact: bool
    ) -> list[Any]:
        with self._lock:
            encode = self._library.encode_batch if exact else self._library.encode_batch_fast
            try:
                if cut is not None:
                    self._library.enable_truncation(**cut)
                return encode(inputs, is_pretokenized=split, add_special_tokens=special)
            except TypeError as error:  # types are checked before: what is left is what UTF-8 cannot hold
                got, fix = "half of a surrogate pair", 'read files with errors="replace"'
                raise StructureError("texts of whole characters", got=got, fix=fix, where="Tokenizer") from error
            except Exception as error:  # the library raises nothing more precise
                if "ncation" not in str(error) or cut is None:
                    raise
                got, fix = str(error), "raise length, or cut with longest_first"
                raise RangeError(
                    f"texts that can be cut to {cut['max_length']}", got=got, fix=fix, where="Tokenizer"
                ) from error
            finally:
                self._library.no_truncation()

    def _arrays(self, encodings: list[Any], side: Side, pad: Pad, length: int | None, details: bool) -> Tokens:
        rows = [encoding.ids for encoding in encodings]
        lengths = [len(row) for row in rows]
        time = time_of(lengths, pad, length, "Tokenizer")
        if self.pad_id is None and any(n < time for n in lengths):
            fix = "give Tokenizer(…, pad_token=…); a model that has none is often padded with its eos_token"
            raise StructureError("a pad token to fill up with", got="none", fix=fix, where="Tokenizer")
        more: dict[str, Any] = {}
        if details:
            more["offsets"] = rows_of([e.offsets for e in encodings], time, side, 0, np.int32, (2,))
            for name in ("words", "parts"):
                theirs = "word_ids" if name == "words" else "sequence_ids"
                found = [[-1 if n is None else n for n in getattr(e, theirs)] for e in encodings]
                more[name] = rows_of(found, time, side, -1, np.int32)
        return Tokens(
            rows_of(rows, time, side, self.pad_id or 0, np.int32),
            mask_of(lengths, time, side),
            rows_of([encoding.type_ids for encoding in encodings], time, side, 0, np.int32),
            np.asarray(lengths, np.int32),
            **more,
        )

    @overload
    def encode(self, texts: str, *, special: bool = True) -> list[int]: ...

    @overload
    def encode(self, texts: list[str] | tuple[str, ...] | np.ndarray, *, special: bool = True) -> list[list[int]]: ...

    def encode(self, texts: Any, *, special: bool = True) -> list[int] | list[list[int]]:
        """The numbers of one text, or of each of several, neither cut nor padded: what ``pack`` takes.

        Arguments:
            special: add special tokens such as those at the ends.
        """
        found = self._encodings(texts_of(texts, None, False, "Tokenizer.encode"), special, False, None, False)
        rows = [encoding.ids for encoding in found]
        return rows[0] if isinstance(texts, str) else rows

    # --- numbers to texts ---------------------------------------------------------------------------

    def decode(self, ids: Any, skip_special: bool = True) -> Any:
        """The text of (time,) numbers, or a list of those of (batch, time).

        Numbers beyond the vocabulary give nothing, as models often have more outputs than there are tokens.

        Arguments:
            skip_special: leave special tokens out.

        Raises:
            RangeError: a number below 0. DtypeError: what is no whole number.
        """
        if is_batch(ids):
            return [self.decode(row, skip_special) for row in ids]
        text = self._library.decode(numbers(ids), skip_special_tokens=skip_special)
        bpe = type(self._library.model).__name__ == "BPE"
        return cleaned(text) if self._settings.clean_up and (self._settings.clean_up_bpe or not bpe) else text

    def pieces(self, ids: Any) -> list[str | None]:
        """The string of each token as the vocabulary has it; None beyond the vocabulary."""
        return [self._library.id_to_token(number) for number in numbers(ids)]

    @cached_property
    def _bytes(self) -> Callable[[int], bytes]:
        return reader_of(self._library)

    def token_bytes(self, ids: Any) -> list[bytes]:
        """The bytes that each token stands for, which may be a part of a character; none beyond the vocabulary."""
        return [self._bytes(number) for number in numbers(ids)]

    # --- what it knows ------------------------------------------------------------------------------

    @cached_property
    def vocab(self) -> dict[str, int]:
        """The number of each token, added ones included."""
        return self._library.get_vocab(with_added_tokens=True)

    @property
    def special(self) -> dict[str, str]:
        """The special tokens by name: ``{"pad": "[PAD]", …}``."""
        return {name: content(token) for name, token in self._settings.special.items()}

    @property
    def padding_side(self) -> Side:
        """Where texts are filled up, unless a call says it."""
        return self._settings.padding_side

    @property
    def truncation_side(self) -> Side:
        """Where texts are cut, unless a call says it."""
        return self._settings.truncation_side

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """The numbers of all tokens that are marked as special, in order."""
        added = self._library.get_added_tokens_decoder()
        return tuple(sorted(number for number, token in added.items() if token.special))

    def id_of(self, name: str) -> int | None:
        """The number of a special token by its name, such as ``"pad"``; None where there is none."""
        token = self.special.get(name)
        return None if token is None else self._library.token_to_id(token)

    @property
    def pad_id(self) -> int | None:
        """The number of the token that texts are filled up with."""
        return self.id_of("pad")

    @property
    def bos_id(self) -> int | None:
        """The number of the token that texts begin with."""
        return self.id_of("bos")

    @property
    def eos_id(self) -> int | None:
        """The number of the token that texts end with."""
        return self.id_of("eos")

    @property
    def unk_id(self) -> int | None:
        """The number of the token for what the vocabulary lacks."""
        return self.id_of("unk")

    @property
    def cls_id(self) -> int | None:
        """The number of the token that stands for the whole text."""
        return self.id_of("cls")

    @property
    def sep_id(self) -> int | None:
        """The number of the token between texts."""
        return self.id_of("sep")

    @property
    def mask_id(self) -> int | None:
        """The number of the token that hides another one."""
        return self.id_of("mask")

    @property
    def max_length(self) -> int | None:
        """The most tokens that the model takes, where the files say it."""
        return self._settings.length

    def token_mask(self, p: float = 0.15, *, key: Any = None) -> TokenMask:
        """``px.data.TokenMask`` with this vocabulary: special tokens are never chosen.

        Raises:
            StructureError: the tokenizer has no mask token.
        """
        if self.mask_id is None:
            fix = "give Tokenizer(…, mask_token=…)"
            raise StructureError("a mask token", got="none", fix=fix, where="Tokenizer.token_mask")
        return TokenMask(self.mask_id, len(self), p=p, special=self.special_ids, key=key)

    # --- chats --------------------------------------------------------------------------------------

    def template(self, name: str | None = None, *, tools: bool = False) -> ChatTemplate:
        """The chat template of a name; without one ``tool_use`` for tools where there is such, else ``default``.

        Raises:
            StructureError: there is none.
        """
        found = self._settings.templates
        chosen = name or ("tool_use" if tools and "tool_use" in found else "default")
        if chosen not in found:
            got = ", ".join(map(repr, found)) or "none"
            fix = "give Tokenizer(…, chat_template=…), or the name of one"
            raise StructureError(f"a chat template {chosen!r}", got=got, fix=fix, where="Tokenizer.template")
        return ChatTemplate(found[chosen], **{f"{name}_token": token for name, token in self.special.items()})

    def chat(
        self,
        messages: Messages,
        generate: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        template: str | None = None,
        **variables: Any,
    ) -> str:
        """A chat as the text that the model was trained on.

        Arguments:
            messages: ``{"role": "user", "content": "…"}`` and so on.
            generate: end with what an answer begins with.
            tools: what the model may call, each as a JSON schema.
            template: the name of one of several templates.
            variables: whatever else the template reads.

        Raises:
            ChatTemplateError: the template refuses these messages, or does what it must not.
        """
        return self.template(template, tools=tools is not None).render(messages, generate, tools, **variables)

    def chat_tokens(
        self,
        conversations: Sequence[Any],
        generate: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        template: str | None = None,
        length: int | None = None,
        side: Side | None = None,
        pad: Pad = True,
        assistant: bool = False,
        **variables: Any,
    ) -> Tokens:
        """Chats as arrays of one length; a single chat is a batch of one.

        The template writes special tokens itself, so none are added.

        Arguments:
            conversations: chats, each a list of messages.
            length, side, pad: as in a call.
            assistant: tell also which tokens the assistant wrote, by the template's ``{% generation %}``.

        Raises:
            ChatTemplateError: as ``chat``; a template without ``{% generation %}`` where it is needed.
        """
        chats = [conversations] if conversations and isinstance(conversations[0], Mapping) else list(conversations)
        chosen = self.template(template, tools=tools is not None)
        if not assistant:
            texts = [chosen.render(chat, generate, tools, **variables) for chat in chats]
            return self(texts, length=length, side=side, pad=pad, special=False)
        found = [chosen.render_spans(chat, generate, tools, **variables) for chat in chats]
        batch = self([text for text, _ in found], length=length, side=side, pad=pad, special=False, offsets=True)
        return dataclasses.replace(batch, assistant=tokens_within(batch, [spans for _, spans in found]))

    # --- itself -------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many tokens there are, added ones included: the rows of an embedding."""
        return self._library.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        named = ", ".join(f"{name}={token!r}" for name, token in self.special.items())
        return f"Tokenizer({type(self._library.model).__name__}, {len(self)} tokens{', ' * bool(named)}{named})"

    def __getstate__(self) -> dict[str, Any]:
        return {"_library": self._library, "_settings": self._settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __getattr__(self, name: str) -> Any:
        if name in _FOREIGN:
            raise UnknownNameError(
                "a name of its own", got=f".{name}", fix=_FOREIGN[name], where="Tokenizer", located=True
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
