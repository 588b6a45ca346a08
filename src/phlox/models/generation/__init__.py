"""Text from language models: a token at a time, by whatever rule chooses it.

_generate      px.generate: prompts in, tokens out
_prompts       prompts of unequal length as one array, padded to a few lengths
_settings      how tokens are chosen, and where a text ends
_choosing      one token from scores, and what is known of a text so far
_stepping      prefill, decode, and the slots of a cache: what a server batches too
_recalling     encoder-decoder models: a decoder that remembers what was read
_beams         beam search
_speculative   a small model guesses, the large one judges
"""
