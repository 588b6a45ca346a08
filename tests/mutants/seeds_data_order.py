"""Seeded bugs in the order of predictions and of foreign data: name, file, original, replaced, the tests."""

_PREDICT = "tests/loop/test_predict_order.py"

MUTANTS = [
    (
        "predictions stay in the loader's order",
        "loop/_evaluate.py",
        "return joined if places is None else joined[places]",
        "return joined",
        (_PREDICT,),
    ),
    (
        "the permutation is applied, not undone",
        "loop/_evaluate.py",
        'return np.argsort(rows, kind="stable")',
        "return rows",
        (_PREDICT,),
    ),
    (
        "the order told is that of the epoch before",
        "data/_loader.py",
        "epoch, first = (self._epoch + 1, 0) if self._begun",
        "epoch, first = (self._epoch, 0) if self._begun",
        (_PREDICT,),
    ),
    (
        "buckets count as the data's order",
        "data/_loader.py",
        "return not self.shuffle and self._buckets is None",
        "return not self.shuffle",
        (_PREDICT,),
    ),
]
