"""Seeded bugs in convolutional models: as in seeds_layers.py."""

_EFFICIENT = "tests/models/test_efficientnet.py::"
_NEXT = "tests/models/test_convnext.py::"
_MOBILE = "tests/models/test_mobilenet_v3.py::"

MUTANTS = [
    (
        "EfficientNet's blocks are never skipped",
        "models/vision/_efficientnet.py",
        "drop=None if first else DropPath(config.drop_connect_rate * depth),",
        "drop=None if first else DropPath(0.0),",
        (_EFFICIENT + "test_stochastic_depth_grows_with_depth_and_skips_the_branch",),
    ),
    (
        "EfficientNet's stochastic depth is one block ahead",
        "models/vision/_efficientnet.py",
        "n == number, n / count, act)",
        "n == number, (n + 1) / count, act)",
        (_EFFICIENT + "test_stochastic_depth_grows_with_depth_and_skips_the_branch",),
    ),
    (
        "EfficientNet pads before what TensorFlow pads after",
        "models/vision/_efficientnet.py",
        "return ((high if number in config.depthwise_padding else high - 1, high),) * 2",
        "return ((high, high if number in config.depthwise_padding else high - 1),) * 2",
        (_EFFICIENT + "test_in_float32",),
    ),
    (
        "EfficientNet has no dropout before the head",
        "models/vision/_efficientnet.py",
        "return self.dropout(over(features, (1, 2)))",
        "return over(features, (1, 2))",
        (_EFFICIENT + "test_dropout_stands_before_the_head",),
    ),
    (
        "channels are squeezed to their largest values",
        "models/vision/_inverted_residual.py",
        "jnp.mean(x, (1, 2), keepdims=True)",
        "jnp.max(x, (1, 2), keepdims=True)",
        (_EFFICIENT + "test_in_float32", _MOBILE + "test_in_float32"),
    ),
    (
        "ConvNeXt's channels compete with the strongest",
        "models/vision/_convnext.py",
        "jnp.mean(norms, -1, keepdims=True)",
        "jnp.max(norms, -1, keepdims=True)",
        (_NEXT + "test_in_float32",),
    ),
    (
        "ConvNeXt's stochastic depth is spread over one block more",
        "models/vision/_convnext.py",
        "config.drop_path_rate, sum(config.depths))",
        "config.drop_path_rate, sum(config.depths) + 1)",
        (_NEXT + "test_stochastic_depth_grows_with_depth_and_skips_the_branch",),
    ),
    (
        "ConvNeXt's branches have no factors",
        "models/vision/_convnext.py",
        "y if self.scale is None else self.scale * y",
        "y",
        (_NEXT + "test_in_float32",),
    ),
    (
        "MobileNetV3's gates are smooth",
        "models/vision/_mobilenet_v3.py",
        "rounded(middle // 4), relu, hardsigmoid)",
        "rounded(middle // 4), relu)",
        (_MOBILE + "test_in_float32",),
    ),
    (
        "MobileNetV3 adds no shortcut",
        "models/vision/_mobilenet_v3.py",
        "shortcut=stride == 1 and channels == filters,",
        "shortcut=False,",
        (_MOBILE + "test_in_float32",),
    ),
    (
        "MobileNetV3 has no dropout before the head",
        "models/vision/_mobilenet_v3.py",
        "return self.dropout(self.hidden(jnp.mean(features, (1, 2))))",
        "return self.hidden(jnp.mean(features, (1, 2)))",
        (_MOBILE + "test_dropout_stands_before_the_head",),
    ),
]
