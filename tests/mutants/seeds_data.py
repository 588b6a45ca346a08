"""Seeded bugs in loading and reading: name, file, original, replaced, the tests that must catch it."""

_LOADER = "tests/data/test_loader.py::"
_READERS = "tests/data/test_readers.py::"
_TABLES = "tests/data/test_readers_tables.py::"
_RESUMED = (_LOADER + "test_a_restored_loader_goes_on_where_the_state_was_taken",)

MUTANTS = [
    (
        "every epoch has the order of the first",
        "data/loading/_order.py",
        "default_rng([*self._seed, epoch])",
        "default_rng([*self._seed, 0])",
        (_LOADER + "test_orders_are_those_of_the_seed",),
    ),
    (
        "what fills up counts as real",
        "data/loading/_order.py",
        "mask = np.arange(size) < len(index)",
        "mask = np.arange(size) <= len(index)",
        (_LOADER + "test_the_last_batch_is_short_dropped_or_filled_up",),
    ),
    (
        "every process gets the rows of the first",
        "data/loading/_order.py",
        "np.arange(edges[part], edges[part + 1]) for part in share.parts",
        "np.arange(edges[0], edges[1]) for part in share.parts",
        (_LOADER + "test_shards_together_are_the_batches_of_one_process",),
    ),
    (
        "short batches of buckets do not come last",
        "data/loading/_order.py",
        "cut[1] - cut[0] < self.size, sorted_by",
        "False, sorted_by",
        (_LOADER + "test_buckets_hold_every_sequence_once_at_few_lengths",),
    ),
    (
        "the position is of the batch before",
        "data/loading/_loader.py",
        "enumerate(items, batch + 1)",
        "enumerate(items, batch)",
        _RESUMED,
    ),
    (
        "a restored loader begins with the next epoch",
        "data/loading/_loader.py",
        'state["place"]\n        self._begun = False',
        'state["place"]\n        self._begun = True',
        _RESUMED,
    ),
    (
        "a pass that is left keeps its thread",
        "data/loading/_loader.py",
        "        finally:\n            items.close()",
        "        finally:\n            pass",
        (_LOADER + "test_a_pass_that_was_left_is_over_and_its_thread_gone",),
    ),
    (
        "the thread makes batches without end",
        "data/loading/_ahead.py",
        "                self._room.acquire()\n",
        "",
        (_LOADER + "test_the_state_is_of_what_was_consumed",),
    ),
    (
        "a stream in windows takes Grain's own position",
        "data/loading/_streaming.py",
        "plain = self._window == 1 and self._buckets is None",
        "plain = True",
        _RESUMED,
    ),
    (
        "a length that is a bucket's goes to the next one",
        "data/loading/_buckets.py",
        "np.searchsorted(self.lengths, lengths)",
        'np.searchsorted(self.lengths, lengths, side="right")',
        (
            _LOADER + "test_several_parts_share_a_bucket_and_fill_up_with_a_mask",
            _LOADER + "test_lengths_to_pad_to_are_powers_of_two_up_to_the_longest",
        ),
    ),
    (
        "test data is scaled by itself",
        "data/readers/_tables.py",
        "return cls(like.encoder(frame), y,",
        "return cls(TableEncoder.fit(frame[list(frame.columns)])(frame), y,",
        (_TABLES + "test_numbers_are_filled_in_and_scaled_as_by_scikit_learn",),
    ),
    (
        "what was not seen is the first category",
        "data/readers/_table_encoder.py",
        "place.get(_plain(value), -1)",
        "place.get(_plain(value), 0)",
        (_TABLES + "test_categories_are_numbered_as_by_scikit_learn",),
    ),
    (
        "an unpickler follows any name",
        "data/readers/_cifar.py",
        'raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed") from None',
        "return super().find_class(module_name, global_name)",
        (_READERS + "test_a_pickle_runs_nothing",),
    ),
    (
        "images are resized to width and height",
        "data/readers/_image_folder.py",
        "self.size[::-1]",
        "self.size",
        (_READERS + "test_images_are_resized_and_converted_as_pillow_does",),
    ),
]
