"""Seeded bugs in Whisper and wav2vec 2.0: as in seeds_layers.py."""

_WHISPER, _WAV = "models/speech/_whisper.py", "models/speech/_wav2vec2.py"
_HEARS = ("tests/models/test_whisper.py::test_in_float32_padded_on_the_left",)
_CACHED = ("tests/models/test_whisper.py::test_a_cache_changes_no_score_and_reads_the_memory_once",)
_LEARNS = ("tests/models/test_wav2vec2.py::test_answers_and_learns_as_the_hub_s",)
_SPANS = ("tests/models/test_wav2vec2.py::test_spans_lie_as_the_hub_s",)

MUTANTS = [
    (
        "Whisper: the decoder attends to the memory without a norm",
        "models/speech/_blocks.py",
        "self.cross.recall(self.norm2(x), kept)",
        "self.cross.recall(x, kept)",
        _HEARS,
    ),
    (
        "Whisper: the first convolution has no activation",
        _WHISPER,
        "Conv(3, config.num_mel_bins, dim, F.gelu, padding=1, init=draw)",
        "Conv(3, config.num_mel_bins, dim, padding=1, init=draw)",
        _HEARS,
    ),
    (
        "Whisper: a step in a cache stands at the first place",
        _WHISPER,
        "cache[0].position if cache else 0",
        "0",
        _CACHED,
    ),
    (
        "Whisper: the end of a text learns from being read",
        _WHISPER,
        "Embedding(config.vocab_size, dim, padding_idx=config.pad_token_id, init=draw)",
        "Embedding(config.vocab_size, dim, init=draw)",
        ("tests/models/test_whisper.py::test_answers_and_learns_as_the_hub_s",),
    ),
    (
        "speech: the weights of layers are no shares",
        "models/speech/_head.py",
        "shares = jax.nn.softmax(self.weights)",
        "shares = self.weights",
        ("tests/models/test_whisper.py::test_classes_of_recordings",),
    ),
    (
        "wav2vec 2.0: places are told from one step later",
        _WAV,
        "padding=((size // 2, (size - 1) // 2),)",
        "padding=(((size - 1) // 2, size // 2),)",
        _LEARNS,
    ),
    (
        "wav2vec 2.0: padding reaches the convolution of places",
        _WAV,
        "x = jnp.where((jnp.arange(x.shape[1]) < steps[:, None])[..., None], x, jnp.zeros((), x.dtype))",
        "pass",
        _LEARNS,
    ),
    (
        "wav2vec 2.0: lengths are rounded up",
        _WAV,
        "(lengths - size) // stride + 1",
        "-((size - lengths) // stride) + 1",
        ("tests/models/test_wav2vec2.py::test_steps_are_counted_as_the_hub_counts_them",),
    ),
    (
        "wav2vec 2.0: stable norms lack the last one",
        _WAV,
        "return self.norm(states[-1]) if self.config.do_stable_layer_norm else states[-1]",
        "return states[-1]",
        ("tests/models/test_wav2vec2.py::test_a_trunk_of_pre_training_with_stable_norms_at_its_end",),
    ),
    (
        "speech: spans are one step too short",
        "models/speech/_spans.py",
        "(after >= 0) & (after < length)",
        "(after > 0) & (after < length)",
        _SPANS,
    ),
    (
        "wav2vec 2.0: every file must hold the vector for masked time",
        "models/speech/_wav2vec2.py",
        'optional=("augment.embed",)',
        "optional=()",
        ("tests/models/test_wav2vec2.py::test_files_with_and_without_a_vector_for_masked_time",),
    ),
    (
        "speech: classes of a recording without a step are 0 / 0",
        "models/speech/_head.py",
        "jnp.maximum(lengths, 1)",
        "lengths",
        ("tests/models/test_wav2vec2.py::test_a_recording_too_short_for_a_step_spoils_no_sum",),
    ),
    (
        "speech: a skipped block is the one that is kept",
        "models/speech/_blocks.py",
        "jnp.where(jax.random.uniform(advance(self)) < self.p, before, after)",
        "jnp.where(jax.random.uniform(advance(self)) < self.p, after, after)",
        ("tests/models/test_wav2vec2.py::test_what_happens_in_training",),
    ),
]
