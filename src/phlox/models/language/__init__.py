"""Models of text.

_config      what configs of text share: a task for the head, a vocabulary
_rotary      rotary positions as configs write them
_model       what models of text have in common: a head by task, sentences as vectors
_decoder     decoder-only language models: a block, and a stack of them
_gated       decoders that are built like a Llama
_gpt2        GPT-2
_llama       Llama
_mistral     Mistral
_qwen2       Qwen2 and Qwen2.5
_qwen3       Qwen3
_phi3        Phi-3
_windows     which blocks see all that stands before, and which a window of it
_gemma       Gemma 2 and 3
_mixture     decoders with experts: a block, the router's loss
_mixtral     Mixtral
_qwen_moe    Qwen2 and Qwen3 with experts
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
_seq2seq     encoder-decoder models: attention to a memory, a stack of such blocks, one step of writing
_modernbert  ModernBERT
_t5          T5, 1.1 and Flan
"""
