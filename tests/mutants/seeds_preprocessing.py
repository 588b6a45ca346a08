"""Seeded bugs in the preprocessing of images: as in seeds_layers.py."""

_TESTS = "tests/models/test_preprocessing.py::"
_ROOM = "models/preprocessing/"

MUTANTS = [
    (
        "the cubic filter is OpenCV's and PyTorch's",
        _ROOM + "_filters.py",
        "a, x = -0.5, np.abs(x)",
        "a, x = -0.75, np.abs(x)",
        (_TESTS + "test_resize_is_pillows_to_the_last_bit[bicubic]",),
    ),
    (
        "a smaller image leaves pixels out",
        _ROOM + "_filters.py",
        "stretch = max(ratio, 1.0) if antialias else 1.0",
        "stretch = 1.0",
        (_TESTS + "test_antialias_is_torchs",),
    ),
    (
        "the width is always first",
        _ROOM + "_resize.py",
        "return less[0] > 0 and less[0] > 2 * less[1]",
        "return False",
        (_TESTS + "test_tall_images_shrink_in_height_first",),
    ),
    (
        "sums of 8 bits are cut off, not rounded",
        _ROOM + "_resize.py",
        "total += 2 ** (BITS - 1)",
        "total += 0",
        (_TESTS + "test_resize_is_pillows_to_the_last_bit[bilinear]",),
    ),
    (
        "timm's crop begins where transformers' does",
        _ROOM + "_timm.py",
        '"crop_rounding": "even",',
        '"crop_rounding": "floor",',
        (_TESTS + "test_a_config_of_timm[center [224, 224]]",),
    ),
    (
        "the longer edge may be longer than said",
        _ROOM + "_sizes.py",
        "if longest is not None and long / short * edge > longest:",
        "if longest is not None and edge > longest:",
        (_TESTS + "test_a_processor_is_transformers[Detr size=100 max_size=120]",),
    ),
    (
        "ConvNeXt's share is of the other edge",
        _ROOM + "_huggingface.py",
        'return {"size": int(short / share), "crop": (short, short)}',
        'return {"size": int(short * share), "crop": (short, short)}',
        (_TESTS + "test_a_processor_is_transformers[ConvNext size=224]",),
    ),
    (
        "the deviation is taken once too often or too seldom",
        _ROOM + "_preprocessor.py",
        "return y / np.asarray(pre.std, np.float32) if pre.std_twice else y",
        "return y",
        (_TESTS + "test_a_hand_worked_image",),
    ),
    (
        "one fill takes the other channels away",
        _ROOM + "_checks.py",
        "(first, *others) if others else first",
        "(first, *others)",
        (_TESTS + "test_one_value_of_a_list_fills_all_channels",),
    ),
]
