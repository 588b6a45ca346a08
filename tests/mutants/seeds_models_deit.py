"""Seeded bugs in DeiT: as in seeds_layers.py."""

_HERE = "tests/models/test_deit.py::"
_FILE = "models/vision/_deit.py"
_LEARNS = (_HERE + "test_two_heads_answer_and_learn_as_the_hub_s",)

MUTANTS = [
    (
        "DeiT: the sum of both heads",
        _FILE,
        "return (by_class + by_teacher) / 2",
        "return by_class + by_teacher",
        _LEARNS,
    ),
    (
        "DeiT: the heads see each other's token",
        _FILE,
        "return self.cls(own), self.teacher(teacher)",
        "return self.cls(teacher), self.teacher(own)",
        _LEARNS,
    ),
    (
        "DeiT: the heads are exchanged in files",
        _FILE,
        '"cls_classifier": "head.cls",\n        "distillation_classifier": "head.teacher",',
        '"cls_classifier": "head.teacher",\n        "distillation_classifier": "head.cls",',
        (_HERE + "test_in_float32_each_head_s_scores_too",),
    ),
    (
        "DeiT: the teacher's token stands first",
        "models/vision/_tokens.py",
        "for token in (cls_token, distillation) if",
        "for token in (distillation, cls_token) if",
        _LEARNS,
    ),
    (
        "DeiT: one head sees the teacher's token",
        _FILE,
        "axis=-1) if self.config.teacher_head else first",
        "axis=-1) if self.config.teacher_head else second",
        (_HERE + "test_one_head_at_another_size",),
    ),
]
