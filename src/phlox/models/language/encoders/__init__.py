"""Encoders of text.

_encoder        tokens embedded, a block, and a stack of them
_encoder_heads  what stands on encoders: words, classes of texts, scores of tokens
_bert           BERT and MiniLM
_roberta        RoBERTa and XLM-RoBERTa
_distilbert     DistilBERT
_modernbert     ModernBERT
_sentences      sentences as vectors, from folders of sentence-transformers
"""
