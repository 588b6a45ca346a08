"""Models of text.

_config    what configs of text share: a task for the head, a vocabulary
_model     what models of text have in common: a head by task, sentences as vectors
_seq2seq   encoder-decoder models: attention to a memory, a stack of such blocks, one step of writing
_t5        T5, 1.1 and Flan
encoders/  BERT and its kin
decoders/  GPT-2, Llama and theirs
"""
