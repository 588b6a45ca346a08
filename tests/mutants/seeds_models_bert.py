"""Seeded bugs in BERT, RoBERTa, DistilBERT and in sentences as vectors: as in seeds_layers.py."""

_BERT, _ROBERTA, _DISTIL = (f"tests/models/test_{name}.py::" for name in ("bert", "roberta", "distilbert"))
_LEARNS = "test_answers_and_learns_as_the_hub_s"
_ENCODER, _HEADS = "models/language/encoders/_encoder.py", "models/language/encoders/_encoder_heads.py"
_FOLDERS = "tests/models/test_minilm.py::"

MUTANTS = [
    (
        "encoders: the kinds of tokens are not added",
        _ENCODER,
        "x = x + self.types(jnp.zeros((1, 1), jnp.int32) if types is None else types)",
        "x = x + self.types(jnp.zeros((1, 1), jnp.int32))",
        (_BERT + _LEARNS,),
    ),
    (
        "encoders: the second norm comes before the shortcut",
        _ENCODER,
        "return self.norm2(x + self.drop2(self.mlp(x)))",
        "return x + self.norm2(self.drop2(self.mlp(x)))",
        (_BERT + _LEARNS,),
    ),
    (
        "encoders: places of packed texts go on",
        _ENCODER,
        "return before - jax.lax.cummax(",
        "return before - 0 * jax.lax.cummax(",
        (_BERT + "test_packed_texts_are_as_they_are_alone",),
    ),
    (
        "encoders: words are scored without their bias",
        _HEADS,
        "return scores + self.bias.astype(scores.dtype)",
        "return scores",
        (_BERT + _LEARNS,),
    ),
    (
        "BERT: the pooler without tanh",
        "models/language/encoders/_bert.py",
        "return Dense(config.hidden_size, config.hidden_size, tanh, init=",
        "return Dense(config.hidden_size, config.hidden_size, init=",
        (_BERT + "test_the_pooler_of_a_trunk_is_kept_and_is_what_the_hub_s_gives",),
    ),
    (
        "BERT: a pooler that the file has is drawn anew",
        "models/_loading.py",
        "return tuple(part for part in optional if not any(_below(path, (part,)) for path in held))",
        "return optional",
        (_BERT + "test_the_pooler_of_a_trunk_is_kept_and_is_what_the_hub_s_gives",),
    ),
    (
        "BERT: queries and keys are swapped in files",
        "models/language/encoders/_bert.py",
        'q_proj",\n        f"{layer}.attention.self.key": "blocks.{i}.attention.k_proj",',
        'k_proj",\n        f"{layer}.attention.self.key": "blocks.{i}.attention.q_proj",',
        (_BERT + _LEARNS,),
    ),
    (
        "BERT: no dropout behind the embedding",
        _ENCODER,
        "return self.drop(self.norm(x + self.positions(places)))",
        "return self.norm(x + self.positions(places))",
        (_BERT + "test_dropout_zeroes_ends_of_branches_and_features_before_the_head",),
    ),
    (
        "RoBERTa: what pads in front moves the places",
        "models/language/encoders/_roberta.py",
        "counts = tokens != self.padding",
        "counts = tokens == tokens",
        (_ROBERTA + "test_places_are_counted_from_what_pads_in_front",),
    ),
    (
        "RoBERTa: places begin at the one of what pads",
        "models/language/encoders/_roberta.py",
        "1 + counted_before(counts, segments)",
        "counted_before(counts, segments)",
        (_ROBERTA + _LEARNS,),
    ),
    (
        "RoBERTa: words are scored through the activation of the blocks",
        "models/language/encoders/_roberta.py",
        "token_head(config, dim, gelu,",
        "token_head(config, dim, activation(config.hidden_act, ''),",
        (_ROBERTA + _LEARNS,),
    ),
    (
        "DistilBERT: both branches of a block drop",
        "models/language/encoders/_distilbert.py",
        "dropout=(0.0, config.dropout)",
        "dropout=(config.dropout, config.dropout)",
        (_DISTIL + "test_dropout_stands_where_it_was_published",),
    ),
    (
        "DistilBERT: keys and values are swapped in files",
        "models/language/encoders/_distilbert.py",
        'k_proj",\n    f"{_LAYER}.attention.v_lin": "blocks.{i}.attention.v_proj",',
        'v_proj",\n    f"{_LAYER}.attention.v_lin": "blocks.{i}.attention.k_proj",',
        (_DISTIL + _LEARNS,),
    ),
    (
        "DistilBERT: texts are told apart through tanh",
        "models/language/encoders/_distilbert.py",
        "SentenceHead(dim, config.classes, relu,",
        "SentenceHead(dim, config.classes, activation('tanh', ''),",
        (_DISTIL + "test_heads",),
    ),
    (
        "sentences: vectors are always of length one",
        "models/language/encoders/_sentences.py",
        "normalise=len(steps) > 2",
        "normalise=True",
        (_FOLDERS + "test_each_pooling_of_a_folder_is_done",),
    ),
    (
        "sentences: what pads is averaged too",
        "models/language/_model.py",
        "jnp.sum(wide * kept, axis=1)",
        "jnp.sum(wide, axis=1)",
        (_FOLDERS + "test_each_pooling_of_a_folder_is_done",),
    ),
]
