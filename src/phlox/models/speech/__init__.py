"""Models of speech.

_config       what configs of speech share: tasks, spans that are masked in training, a head for classes
_spans        SpecAugment as the hub has it: stretches of time and of features masked in training
_blocks       a block of an encoder and one of a decoder, layers that are dropped whole
_head         classes of a recording, by the last features or a weighted sum of all layers
_whisper      Whisper
_wav2vec2     wav2vec 2.0
"""
