"""Seeded bugs in tensor parallelism: what is cut how, and what goes between devices."""

_TEST = "tests/parallel/test_tensor.py::"
_CHECK = "tests/parallel/test_tensor_devices.py::"
_ROOM = "parallel/"

MUTANTS = [
    (
        "tensor: keys are cut by the heads of queries",
        _ROOM + "tables/_parts.py",
        '"k_proj": ("column", "kv_heads"),',
        '"k_proj": ("column", "heads"),',
        (_TEST + "test_keys_and_values_of_fewer_heads_than_devices_stay_whole",),
    ),
    (
        "tensor: maps in a row all by columns",
        _ROOM + "tables/_choice.py",
        '("column", "row")[turn % 2]',
        '("column", "column")[turn % 2]',
        (_TEST + "test_maps_in_a_row_take_turns_and_stacked_axes_stay_in_front",),
    ),
    (
        "tensor: the outermost layer has the last word",
        _ROOM + "tables/_choice.py",
        "for i in reversed(range(len(place.owners))):",
        "for i in range(len(place.owners)):",
        (_TEST + "test_the_innermost_layer_has_the_last_word",),
    ),
    (
        "tensor: stacked axes are cut in place of the map's",
        _ROOM + "strategies/_tensor_parallel.py",
        "front = len(so_far) - len(mine)",
        "front = 0",
        (_TEST + "test_maps_in_a_row_take_turns_and_stacked_axes_stay_in_front",),
    ),
    (
        "tensor: what another strategy cut is cut again",
        _ROOM + "strategies/_tensor_parallel.py",
        "was or (self.axis if name else None)",
        "(self.axis if name else None)",
        (_TEST + "test_what_another_strategy_cut_stays_as_it_is",),
    ),
    (
        "tensor: heads that do not divide are cut through",
        _ROOM + "tables/_choice.py",
        "return part.of is None or getattr(layer, part.of) % parts == 0",
        "return True",
        (_TEST + "test_keys_and_values_of_fewer_heads_than_devices_stay_whole",),
    ),
    (
        "tensor: the table beats a user's pattern",
        _ROOM + "strategies/_tensor_parallel.py",
        "return cut_of(place, parts) if rule is None else",
        "return cut_of(place, parts) if True else",
        (_TEST + "test_a_class_says_how_its_own_parts_are_cut_and_a_pattern_beats_it",),
    ),
    (
        "tensor: every device reads the first part of an array",
        "weights/_on_device.py",
        "ready = _prepared(array[index], None, dtype, _wide())",
        "ready = _prepared(array[next(iter(parts.values()))[0]], None, dtype, _wide())",
        (_CHECK + "test_numbers_are_those_of_one_device[check_files_are_read_to_their_shards]",),
    ),
    (
        "tensor: of a stack all layers are read",
        "weights/matching/_placing.py",
        "for view in self.views[index[0]]])",
        "for view in self.views])",
        ("tests/weights/test_on_device.py::test_a_part_of_a_stack_is_read_by_itself",),
    ),
]
