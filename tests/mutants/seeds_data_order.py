"""Seeded bugs in the order of predictions and of foreign data: name, file, original, replaced, the tests."""

_PREDICT = "tests/loop/test_predict_order.py::test_a_shuffled_loader_is_put_back"
_POSITIONS = "tests/data/test_loader_positions.py::test_stacks_from_every_position_are_the_batches_that_are_left"

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
        "data/loading/_loader.py",
        "epoch, first = (self._epoch + 1, 0) if self._begun",
        "epoch, first = (self._epoch, 0) if self._begun",
        (_PREDICT,),
    ),
    (
        "buckets count as the data's order",
        "data/loading/_loader.py",
        "return not self.shuffle and self._buckets is None",
        "return not self.shuffle",
        ("tests/loop/test_predict_order.py::test_buckets_are_put_back",),
    ),
    (
        "a sparse row in the place of its neighbour",
        "data/readers/_foreign.py",
        "return self._rows[[index]].toarray()[0]",
        "return self._rows[[index - 1]].toarray()[0]",
        ("tests/data/test_foreign.py::test_splits_keep_the_kind",),
    ),
    (
        "rows of a sparse batch in sorted order",
        "data/readers/_foreign.py",
        "found = self._rows[np.ravel(index)].toarray()",
        "found = self._rows[np.sort(np.ravel(index))].toarray()",
        ("tests/data/test_foreign.py::test_what_a_loader_reads_is_what_numpy_would_give",),
    ),
    (
        "missing values of a table pass",
        "data/readers/_foreign.py",
        "        if missing:\n",
        "        if missing > 1:\n",
        ("tests/data/test_foreign.py::test_what_is_no_number_is_refused_with_the_cure",),
    ),
    (
        "bfloat16 bits read as float16",
        "data/readers/_foreign.py",
        ".numpy().view(jax.numpy.bfloat16)",
        ".numpy().view(np.float16)",
        ("tests/data/test_foreign.py::test_bfloat16_tensors_keep_their_bits",),
    ),
    (
        "a dtype by DLPack that NumPy has not is read as bytes",
        "data/readers/_foreign.py",
        "return np.asarray(jax.dlpack.from_dlpack(data))",
        "return np.asarray(jax.dlpack.from_dlpack(data)).view(np.uint8)",
        ("tests/data/test_foreign.py::test_bfloat16_by_dlpack_though_numpy_has_none",),
    ),
    (
        "PyTorch's shuffled loader passes for one in order",
        "data/readers/_foreign.py",
        'not in ("SequentialSampler",',
        'not in ("SequentialSampler", "RandomSampler",',
        ("tests/data/test_foreign.py::test_a_loader_of_pytorch_trains_and_is_counted",),
    ),
    (
        "unsigned numbers wrap without a word",
        "data/loading/_ahead.py",
        'if array.dtype.kind in "iu" and not',
        'if array.dtype.kind in "i" and not',
        ("tests/data/test_foreign.py::test_whole_numbers_beyond_32_bits_never_wrap",),
    ),
    (
        "each window of a stream shuffled alike",
        "data/loading/_streaming.py",
        "yield from (block[i] for i in rng.permutation(len(block)))",
        "yield from (block[i] for i in np.random.default_rng(seed).permutation(len(block)))",
        ("tests/data/test_loader_positions.py::test_windows_of_a_stream_are_shuffled_each_in_its_own_way",),
    ),
    (
        "a stack resumed in the middle begins at its start",
        "data/loading/_loader.py",
        "for start in range(first, whole, count):",
        "for start in range(first // count * count, whole, count):",
        (_POSITIONS,),
    ),
    (
        "resumed before the short last batch, it is left out",
        "data/loading/_loader.py",
        "if max(first, whole) < self._laid_out.batches:",
        "if first < whole < self._laid_out.batches:",
        (_POSITIONS,),
    ),
]
