"""Models of text.

_config      what configs of text share: a task for the head, a vocabulary
_rotary      rotary positions as configs write them
_model       what models of text have in common: a head by task, sentences as vectors
_decoder     decoder-only language models: a block, and a stack of them
_seq2seq     encoder-decoder models: attention to a memory, a stack of such blocks, one step of writing
_llama       Llama
_modernbert  ModernBERT
_t5          T5, 1.1 and Flan
"""
