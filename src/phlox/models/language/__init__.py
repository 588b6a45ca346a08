"""Models of text.

_config         what configs of text share: a task for the head, a vocabulary
_rotary         rotary positions as configs write them
_model          what models of text have in common: a head by task, sentences as vectors
_decoder        decoder-only language models: a block, and a stack of them
_llama          Llama
_encoder        encoders: tokens embedded, a block, and a stack of them
_encoder_heads  what stands on encoders: words, classes of texts, scores of tokens
_bert           BERT and MiniLM
_roberta        RoBERTa and XLM-RoBERTa
_distilbert     DistilBERT
_sentences      sentences as vectors, from folders of sentence-transformers
"""
