"""Seeded bugs in Swin: as in seeds_layers.py."""

_HERE = "tests/models/test_swin.py::"
_FILE = "models/vision/_swin.py"
_LEARNS = (_HERE + "test_answers_and_learns_as_the_hub_s",)
_ODD = (_HERE + "test_in_float32_with_images_that_no_patch_window_or_pair_divides",)
_FULL = (_HERE + "test_positions_of_patches_and_an_odd_window_that_fills_the_map",)

MUTANTS = [
    (
        "Swin: the first block is shifted, not the second",
        _FILE,
        "config.window_size // 2 * (j % 2)",
        "config.window_size // 2 * (1 - j % 2)",
        _LEARNS,
    ),
    (
        "Swin: windows are not shifted back",
        _FILE,
        "_joined(y, size, side), (shift, shift), (1, 2))",
        "_joined(y, size, side), (-shift, -shift), (1, 2))",
        _LEARNS,
    ),
    (
        "Swin: patches from the other end see one another",
        _FILE,
        "mask=_neighbours(size, side, shift, x.shape[0]) if shift else None",
        "mask=None",
        _LEARNS,
    ),
    (
        "Swin: the regions of a shifted map are one patch off",
        _FILE,
        "[n - side, n - shift]",
        "[n - side, n - shift + 1]",
        _LEARNS,
    ),
    (
        "Swin: a map as large as a window is shifted",
        _FILE,
        "if min(rows, columns) > side else 0",
        "if min(rows, columns) >= side else 0",
        _FULL,
    ),
    (
        "Swin: right before down in positions within windows",
        _FILE,
        "down * (2 * self.window - 1) + right",
        "right * (2 * self.window - 1) + down",
        _LEARNS,
    ),
    (
        "Swin: positions within windows the other way",
        _FILE,
        "(a - b + self.window - 1 for a, b in",
        "(b - a + self.window - 1 for a, b in",
        _LEARNS,
    ),
    (
        "Swin: patches are merged by row",
        _FILE,
        "2, dim).transpose(0, 1, 3, 4, 2, 5)",
        "2, dim).transpose(0, 1, 3, 2, 4, 5)",
        _LEARNS,
    ),
    (
        "Swin: what does not fill a window is cut off at the wrong side",
        _FILE,
        "return y[:, :rows, :columns]",
        "return y[:, y.shape[1] - rows :, y.shape[2] - columns :]",
        _ODD,
    ),
    (
        "Swin: positions of patches are left out",
        _FILE,
        "x = x + resized(",
        "x = x + 0 * resized(",
        _FULL,
    ),
    (
        "Swin: stochastic depth begins anew in each stage",
        _FILE,
        "_stage(config, i, [next(rates) for _ in range(depth)])",
        "_stage(config, i, rising(config.drop_path_rate, depth))",
        (_HERE + "test_stochastic_depth_rises_through_all_stages_and_drops_both_branches",),
    ),
]
