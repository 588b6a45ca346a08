"""Seeded bugs in DINOv2: as in seeds_layers.py."""

_HERE = "tests/models/test_dinov2.py::"
_FILE = "models/vision/_dinov2.py"
_LEARNS = (_HERE + "test_answers_and_learns_as_the_hub_s",)
_GATED = (_HERE + "test_gated_features_and_the_unread_token_for_hidden_patches",)

MUTANTS = [
    (
        "DINOv2: branches of features are not scaled",
        "models/vision/_encoder.py",
        "self.path(self.scale2(self.drop(",
        "self.path((self.drop(",
        _LEARNS,
    ),
    (
        "DINOv2: attention has the scale of features",
        "models/vision/_encoder.py",
        "self.path(self.scale1(",
        "self.path(self.scale2(",
        _LEARNS,
    ),
    (
        "DINOv2: the mean is of all tokens",
        _FILE,
        "patches = features[:, 1 + self.registers :]",
        "patches = features[:, self.registers :]",
        _LEARNS,
    ),
    (
        "DINOv2: the mean has the registers",
        _FILE,
        "patches = features[:, 1 + self.registers :]",
        "patches = features[:, 1:]",
        (_HERE + "test_registers",),
    ),
    (
        "DINOv2: positions of small images are not averaged where there are registers",
        _FILE,
        "registers=self.registers, antialias=with_registers)",
        "registers=self.registers)",
        (_HERE + "test_registers",),
    ),
    (
        "DINOv2: gated features are not rounded up",
        _FILE,
        "(int(hidden * 2 / 3) + 7) // 8 * 8",
        "int(hidden * 2 / 3)",
        _GATED,
    ),
    (
        "DINOv2: the gate and what it lets through are exchanged in files",
        _FILE,
        'f"{layer}.mlp.weights_in": (f"{block}.mlp.gate", f"{block}.mlp.up"),',
        'f"{layer}.mlp.weights_in": (f"{block}.mlp.up", f"{block}.mlp.gate"),',
        _GATED,
    ),
    (
        "DINOv2: stochastic depth rises",
        _FILE,
        "rates = [config.drop_path_rate] * config.num_hidden_layers",
        "rates = [config.drop_path_rate * i for i in range(config.num_hidden_layers)]",
        (_HERE + "test_stochastic_depth_is_alike_in_all_blocks_and_stands_behind_the_scale",),
    ),
]
