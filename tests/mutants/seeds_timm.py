"""Seeded bugs in what timm's config.json means."""

_REFUSED = "tests/models/test_folders.py::test_what_timm_built_otherwise_is_refused"
_TAKEN = "tests/models/test_folders.py::test_what_timm_built_otherwise_and_phlox_too"
_BOTH_WAYS = "tests/weights/test_convert.py::test_a_map_reads_both_ways_fused_stacked_and_odd_arrays"
MUTANTS = [
    (
        "timm's arguments of the build are not looked at",
        "models/_timm.py",
        "        if not harmless and (field is None or not hasattr(config, field)):",
        "        if not harmless and field is None and name == 'pool':",
        (_REFUSED,),
    ),
    (
        "any pooling of timm's is taken for ours",
        "models/_timm.py",
        '(name, value) == ("global_pool", pool)',
        'name == "global_pool"',
        (_REFUSED,),
    ),
    (
        "the size of timm's images is forgotten",
        "models/_timm.py",
        '"img_size": "image_size"}',
        '"img_size": "num_labels"}',
        (_TAKEN,),
    ),
    (
        "a family without timm's names is looked up in them",
        "models/_timm.py",
        'if "timm" not in family_of(config, where).names:',
        'if "timm" in ():',
        (_REFUSED,),
    ),
    (
        "axes of size one behind are not written",
        "weights/matching/_slots.py",
        "array.shape + (1,) * self.trail)",
        "array.shape)",
        (_BOTH_WAYS,),
    ),
]
