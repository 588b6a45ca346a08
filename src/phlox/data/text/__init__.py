"""Text: tokens of tokenizers, chats, padding and packing, and words counted as Keras does.

_tokenizer        Tokenizer: texts as numbers and back; read it first
_tokens           Tokens: what a call gives
_streaming        TextStream: the text of tokens while they come
_bytes            what each token stands for, in bytes
_inputs           texts and numbers in the forms that users give them
_settings         what is known beside the vocabulary, and the files that say it
_library          a tokenizer of the library made ready
_legacy           the files that came before tokenizer.json
_saving           the files that transformers reads
_chat _sandbox    chats as texts, and where their templates run
_turns            where an answer in a chat ends
_padding          sequences filled up to one of few lengths
_packing          documents side by side in rows
_targets          what a language model is to say next, and what its tokens may see
_collate          batches of texts for px.DataLoader
_vocabulary       words and their numbers, counted and ordered as Keras does
_hashing          FarmHash, which chooses places for unknown words
_lookup           StringLookup and IntegerLookup
_vectorization    TextVectorization
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.data.text._chat import ChatTemplate, ChatTemplateError
from phlox.data.text._collate import Collate
from phlox.data.text._lookup import IntegerLookup, StringLookup
from phlox.data.text._packing import Packed, PackedStream, pack
from phlox.data.text._padding import pad
from phlox.data.text._streaming import TextStream
from phlox.data.text._targets import next_tokens, segment_mask
from phlox.data.text._tokenizer import Tokenizer
from phlox.data.text._tokens import Tokens
from phlox.data.text._turns import end_of_turn as end_of_turn
from phlox.data.text._turns import has_template as has_template
from phlox.data.text._vectorization import TextVectorization

__all__ = [
    "ChatTemplate",
    "ChatTemplateError",
    "Collate",
    "IntegerLookup",
    "Packed",
    "PackedStream",
    "StringLookup",
    "TextStream",
    "TextVectorization",
    "Tokenizer",
    "Tokens",
    "next_tokens",
    "pack",
    "pad",
    "segment_mask",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
