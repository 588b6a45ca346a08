"""Faults of checkpoints in object stores: the order of objects, what is damaged, gone or refused, and who writes."""

_OBJECTS = "tests/loop/test_checkpoint_objects.py::"
_PLACE, _STORE = "loop/checkpoints/_place.py", "loop/checkpoints/_store.py"

MUTANTS = [
    (
        "objects: a callback goes on from its copies",
        "loop/_planning.py",
        "callback.store.address for callback",
        "callback.store.folder for callback",
        (_OBJECTS + "test_a_training_goes_on_from_there_bit_for_bit",),
    ),
    (
        "objects: the manifest is sent first",
        _PLACE,
        """        self.hand_over(temporary, final)
        self._put(f"{final.name}/{MANIFEST}", temporary / MANIFEST)
""",
        """        self._put(f"{final.name}/{MANIFEST}", temporary / MANIFEST)
        self.hand_over(temporary, final)
""",
        (_OBJECTS + "test_what_is_sent_in_part_is_never_there",),
    ),
    (
        "objects: the manifest is deleted last",
        _PLACE,
        "key=lambda part: part != MANIFEST",
        "key=lambda part: part == MANIFEST",
        (_OBJECTS + "test_the_manifest_goes_first",),
    ),
    (
        "objects: what is not whole stays",
        _PLACE,
        "            if MANIFEST not in parts:\n                self._remove",
        "            if not parts:\n                self._remove",
        (_OBJECTS + "test_what_is_sent_in_part_is_never_there",),
    ),
    (
        "objects: what is deleted is called damaged",
        _PLACE,
        "if MANIFEST not in self._listed().get(name, ()):",
        "if not self._listed():",
        (_OBJECTS + "test_what_is_deleted_while_it_is_read_is_passed_over",),
    ),
    (
        "objects: a damaged one counts among those that are kept",
        _PLACE,
        "if MANIFEST in parts and _DAMAGED not in parts}",
        "if MANIFEST in parts}",
        (_OBJECTS + "test_a_damaged_object_is_found_and_the_one_before_is_used[state.json]",),
    ),
    (
        "objects: a number is used again",
        _STORE,
        "names = self._place.names()",
        "names = os.listdir(self.folder)",
        (_OBJECTS + "test_numbers_only_grow",),
    ),
    (
        "objects: two trainings write into one place",
        _PLACE,
        "if mark != self._mark:",
        "if not mark:",
        (_OBJECTS + "test_a_second_training_is_told_to_the_first",),
    ),
    (
        "objects: nothing is tried again",
        _PLACE,
        "if _is_refusal(error) or n == _TRIES - 1:",
        "if True:",
        (_OBJECTS + "test_what_the_network_breaks_is_tried_again",),
    ),
    (
        "objects: a refusal is tried again",
        _PLACE,
        "if _is_refusal(error) or n == _TRIES - 1:",
        "if n == _TRIES - 1:",
        (_OBJECTS + "test_a_refusal_is_told_at_once_with_what_to_do",),
    ),
    (
        "objects: files are not compared with their checksums as they come",
        _STORE,
        "manifest = check_files(path, *share)",
        "manifest = manifest_of(path)",
        (_OBJECTS + "test_a_damaged_object_is_found_and_the_one_before_is_used[state.json]",),
    ),
    (
        "objects: errors tell of copies",
        _PLACE,
        "str(text).replace(os.fspath(self.folder), self.address)",
        "str(text)",
        (_OBJECTS + "test_a_damaged_object_is_found_and_the_one_before_is_used[state.json]",),
    ),
]
