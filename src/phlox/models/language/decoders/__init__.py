"""Decoder-only language models.

_decoder   a block, and a stack of them under one head
_rotary    rotary positions as configs write them
_windows   which blocks see all that stands before, and which a window of it
_gated     what is built like a Llama
_mixture   with experts: a block, the router's loss
_gpt2      GPT-2
_llama     Llama
_mistral   Mistral
_qwen2     Qwen2 and Qwen2.5
_qwen3     Qwen3
_phi3      Phi-3
_gemma     Gemma 2 and 3
_mixtral   Mixtral
_qwen_moe  Qwen2 and Qwen3 with experts
"""
