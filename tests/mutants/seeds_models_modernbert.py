"""Seeded bugs in ModernBERT: as in seeds_layers.py."""

_HERE = "tests/models/test_modernbert.py::"
_LEARNS = (_HERE + "test_answers_and_learns_as_the_hub_s",)
_HEADS = (_HERE + "test_heads_and_odd_configs",)
_FILE = "models/language/encoders/_modernbert.py"

MUTANTS = [
    (
        "ModernBERT: a window as wide to either side as in all",
        _FILE,
        "window=config.local_attention // 2 if near",
        "window=config.local_attention if near",
        _LEARNS,
    ),
    (
        "ModernBERT: the bases of positions are swapped",
        _FILE,
        "base=config.local_rope_theta if near else config.global_rope_theta",
        "base=config.global_rope_theta if near else config.local_rope_theta",
        _LEARNS,
    ),
    (
        "ModernBERT: the last of several blocks sees all, not the first",
        _FILE,
        "_NEAR if i % every else _FULL",
        "_NEAR if (i + 1) % every else _FULL",
        (_HERE + "test_kinds_of_blocks",),
    ),
    (
        "ModernBERT: the gate and what it lets through are swapped in files",
        _FILE,
        '("blocks.{i}.mlp.gate", "blocks.{i}.mlp.up")',
        '("blocks.{i}.mlp.up", "blocks.{i}.mlp.gate")',
        _LEARNS,
    ),
    (
        "ModernBERT: the first block norms twice",
        _FILE,
        "norm() if index else identity",
        "norm()",
        _LEARNS,
    ),
    (
        "ModernBERT: the mean is told from the first token too",
        _FILE,
        '"mean": "mean"}',
        '"mean": "first"}',
        _HEADS,
    ),
    (
        "ModernBERT: padding counts in the mean",
        _FILE,
        "pool(x, counted(x, mask), _POOLINGS",
        "pool(x, counted(x, None), _POOLINGS",
        _HEADS,
    ),
    (
        "ModernBERT: scores of tokens without their bias",
        _FILE,
        "return scores if bias is None else scores + bias.astype(scores.dtype)",
        "return scores",
        _LEARNS,
    ),
    (
        "ModernBERT: what ends a branch is drawn as large as the rest",
        _FILE,
        "math.sqrt(2 * max(config.num_hidden_layers, 1)) if last else 1.0",
        "1.0",
        (_HERE + "test_fresh_weights_are_cut_off_and_smaller_at_the_end_of_a_branch",),
    ),
    (
        "ModernBERT: no dropout at the end of attention",
        _FILE,
        "x = x + self.drop(self.attention(self.norm1(x), mask=mask))",
        "x = x + self.attention(self.norm1(x), mask=mask)",
        (_HERE + "test_dropout_where_it_is_published",),
    ),
]
