"""Faults of checkpoints that several processes write, of what is read in parts, and of files written array by array."""

_TWO = "tests/parallel/test_sharded.py::"
_DEVICES = "tests/parallel/test_sharded_devices.py::test_from_mesh_to_mesh"
_FORMATS = "tests/loop/test_checkpoint_formats.py::"
_FILES = "tests/weights/test_safetensors.py::"
_ROOM = "loop/checkpoints/"

MUTANTS = [
    (
        "sharded: files of process 0 alone are compared",
        _ROOM + "_manifest.py",
        'for name, (size, digest) in list(manifest["files"].items())[process::processes]:',
        'for name, (size, digest) in [f for f in manifest["files"].items() if "process_1" not in f[0]]:',
        (_TWO + "test_a_training_goes_on_bit_for_bit",),
    ),
    (
        "sharded: each process decides alone what is damaged",
        _ROOM + "_store.py",
        "said = [as_error(text) for text in self._circle.gathered(as_text(found))]",
        "said = [as_error(text) for text in self._circle.gathered(as_text(found))][:0]",
        (_TWO + "test_a_training_goes_on_bit_for_bit",),
    ),
    (
        "sharded: all processes set a damaged one aside, and warn",
        _ROOM + "_store.py",
        "                if self._circle.first:\n                    warnings.warn",
        "                if True:\n                    warnings.warn",
        (_TWO + "test_a_training_goes_on_bit_for_bit",),
    ),
    (
        "sharded: the name is given before all have written",
        _ROOM + "_circle.py",
        'return [self._heard(f"{name}/{n}") for n in range(self.processes)] if self.first else []',
        "return [text] if self.first else []",
        (
            _TWO + "test_each_process_writes_its_part_and_reads_no_more",
            _TWO + "test_a_full_disk_of_one_is_an_error_of_all_at_one_step",
        ),
    ),
    (
        "sharded: process 0 alone hears that the disk is full",
        _ROOM + "_saving.py",
        'told: Any = as_error(circle.announced(f"{name}/end", said))',
        "told: Any = as_error(said)",
        (_TWO + "test_a_full_disk_of_one_is_an_error_of_all_at_one_step",),
    ),
    (
        "sharded: an error is not told with its process",
        _ROOM + "_part.py",
        "error = as_error(text, process)",
        "error = as_error(text)",
        (_TWO + "test_a_full_disk_of_one_is_an_error_of_all_at_one_step",),
    ),
    (
        "sharded: what failed stays in the folder",
        _ROOM + "_saving.py",
        "        if circle.first or not self.place.on_disk:\n            _remove(temporary)\n",
        "",
        (_TWO + "test_a_full_disk_of_one_is_an_error_of_all_at_one_step",),
    ),
    (
        "sharded: who did not send its part says that it did",
        _ROOM + "_saving.py",
        "                self.place.hand_over(temporary, final)\n",
        "                pass\n",
        (_TWO + "test_a_training_goes_on_bit_for_bit_from_an_object_store",),
    ),
    (
        "sharded: copies of an object store are looked at in shares",
        _ROOM + "_store.py",
        "if self._place.on_disk else (0, 1)",
        "if True else (0, 1)",
        ("tests/loop/test_checkpoint_objects.py::test_each_of_several_processes_compares_every_copy",),
    ),
    (
        "sharded: parts out of an object store are not joined",
        _ROOM + "_arrays.py",
        "    _join_parts(folder)\n    ocp = orbax()\n",
        "    ocp = orbax()\n",
        (_TWO + "test_a_training_goes_on_bit_for_bit_from_an_object_store",),
    ),
    (
        "adapters: parts of an adapter are written as they lie",
        "adapt/peft/_saving.py",
        "if id(array) in ours and is_cut(array)}",
        "if False and is_cut(array)}",
        (_TWO + "test_an_adapter_in_parts_is_written_as_a_whole_one_is",),
    ),
    (
        "sharded: process 0 writes all that lies whole",
        _ROOM + "_arrays.py",
        "turn = loads.index(min(loads))",
        "turn = 0",
        (_TWO + "test_what_lies_whole_is_shared_out",),
    ),
    (
        "array by array, sharded: devices are turned along an axis that an array is cut along",
        _ROOM + "_arrays.py",
        "free = [n for n, name in enumerate(mesh.axis_names) if name not in used]",
        "free = [n for n, name in enumerate(mesh.axis_names)]",
        (_TWO + "test_what_lies_whole_is_shared_out",),
    ),
    (
        "sharded: everything is read whole",
        _ROOM + "_places.py",
        "return there.sharding if (there.shape, there.dtype) == (form.shape, form.dtype) else None",
        "return None",
        (_DEVICES + "[check_bits_fsdp_tensor]",),
    ),
    (
        "sharded: what is read whole stays on one device",
        _ROOM + "_places.py",
        "return jax.make_array_from_callback(host.shape, there.sharding, lambda index: host[index])",
        "return jax.numpy.array(value)",
        (_DEVICES + "[check_bits_fsdp_tensor]",),
    ),
    (
        "sharded: what callbacks keep of the model is read whole",
        _ROOM + "_places.py",
        "return meant(at, form.shape, self._known, None)",
        "return None",
        (_DEVICES + "[check_best_weights_stay_in_parts]",),
    ),
    (
        "sharded: small arrays stand in files in another order",
        "optim/_apart.py",
        "starts = np.cumsum([0, *map(prod, parts.values())])",
        "starts = np.cumsum([0, *map(prod, reversed(parts.values()))])",
        (_FORMATS + "test_an_optimisers_small_arrays_stand_in_files_by_themselves",),
    ),
    (
        "sharded: vectors of older checkpoints are not known",
        "loop/_run.py",
        "new[part] = joined(module, new[part])",
        "new[part] = {path: new[part][path] for path in new[part] if '(small' not in path}",
        (_FORMATS + "test_a_checkpoint_of_format_1_whose_small_arrays_share_vectors_goes_on",),
    ),
    (
        "sharded: the position is that of one process's rows",
        "loop/_run.py",
        'self.position = decoded(values["loader"], beside)',
        'self.position = {**decoded(values["loader"], beside), "batch": 0}',
        (_DEVICES + "[check_goes_on_in_small]",),
    ),
    (
        "array by array: a process writes what it has of an array",
        "weights/_whole.py",
        "    if not is_cut(value):\n        return value\n",
        "    if isinstance(value, jax.Array):\n        return value.addressable_data(0)\n",
        (_TWO + "test_a_model_in_parts_is_written_as_a_whole_one_is",),
    ),
    (
        "array by array: an error of process 0 is its own",
        "weights/_writing.py",
        "    if failed:\n        raise FileError(",
        "    if error:\n        raise FileError(",
        (_TWO + "test_a_model_in_parts_is_written_as_a_whole_one_is",),
    ),
    (
        "array by array: the checksum is that of no array",
        "weights/_writing.py",
        "                total.add(name, ready)\n",
        "                pass\n",
        (_FILES + "test_every_kind_of_array_comes_back_bit_for_bit",),
    ),
]
