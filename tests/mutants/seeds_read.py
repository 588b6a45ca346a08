"""Seeded bugs in reading weights: name, file, original, replaced, the tests that must catch it."""

_FORMATS = "tests/weights/test_read_formats.py::"
_HOSTILE = "tests/weights/test_read_hostile.py::"
_SAFETENSORS = "tests/weights/test_read_safetensors.py::"
_DEVICE = "tests/weights/test_on_device.py::"

MUTANTS = [
    (
        "read: an array of JAX takes the memory of the file",
        "weights/_on_device.py",
        "    return own_copy(array)",
        "    return array",
        (_DEVICE + "test_an_array_is_copied_wherever_it_lies",),
    ),
    (
        "read: the last block of a large array stays empty",
        "weights/_pages.py",
        "range(0, array.nbytes, _BLOCK)",
        "range(0, array.nbytes - _BLOCK, _BLOCK)",
        (_DEVICE + "test_large_arrays_are_whole_to_the_last_byte",),
    ),
    (
        "read: threads have no 64 bits",
        "weights/_on_device.py",
        "jax.enable_x64(wide)",
        "jax.enable_x64(False)",
        (_DEVICE + "test_threads_have_the_settings_of_their_caller",),
    ),
    (
        "read: whole numbers of 64 bits are cut",
        "weights/_on_device.py",
        "int(array.min()) >= room.min and int(array.max()) <= room.max",
        "int(array.max()) <= room.max",
        (_DEVICE + "test_64_bits_are_not_lost_in_silence",),
    ),
    (
        "read: gaps between arrays of safetensors pass",
        "weights/readers/_safetensors.py",
        "        if start != at:\n",
        "        if start < at:\n",
        (_SAFETENSORS + "test_a_damaged_or_hostile_header_is_refused",),
    ),
    (
        "read: an index leads out of its folder",
        "weights/readers/_index.py",
        """any(sign in file for sign in "/\\\\:\\0")""",
        """any(sign in file for sign in "\\\\:\\0")""",
        (_SAFETENSORS + "test_an_index_that_leads_elsewhere_is_refused",),
    ),
    (
        "read: links out of a folder are followed",
        "weights/readers/_index.py",
        "    if found.parent not in (home, cached):\n",
        "    if not found.is_file():\n",
        (_SAFETENSORS + "test_links_of_the_hubs_cache_are_followed_and_others_refused",),
    ),
    (
        "read: a stream keeps every file open",
        "weights/readers/_arrays.py",
        "                yield name, self[name]\n            part.release()\n",
        "                yield name, self[name]\n",
        (_SAFETENSORS + "test_a_stream_goes_file_by_file_and_lets_each_go",),
    ),
    (
        "read: PyTorch runs what is in a pickle",
        "weights/readers/_pytorch.py",
        "weights_only=True",
        "weights_only=False",
        (_HOSTILE + "test_a_pickle_runs_nothing_whatever_its_name",),
    ),
    (
        "read: bfloat16 of PyTorch is taken for whole numbers",
        "weights/readers/_pytorch.py",
        ".numpy().view(kind)",
        ".numpy()",
        (_FORMATS + "test_a_checkpoint_of_pytorch",),
    ),
    (
        "read: sizes that no file holds are made",
        "weights/readers/_refusing.py",
        "    if total > max(_SMALL, _PACKED * stored):\n",
        "    if total < 0:\n",
        (_HOSTILE + "test_zip_bombs", _HOSTILE + "test_hdf5_that_leads_elsewhere_or_claims_too_much"),
    ),
    (
        "read: links of HDF5 are followed",
        "weights/readers/_hdf5.py",
        "        if not isinstance(group.get(key, getlink=True), h5py.HardLink):\n",
        "        if key not in group:\n",
        (_HOSTILE + "test_hdf5_that_leads_elsewhere_or_claims_too_much",),
    ),
    (
        "read: chunks of Flax are joined as they come",
        "weights/readers/_flax.py",
        """set(numbered) != {str(i) for i in range(len(numbered))}""",
        """not numbered""",
        (_HOSTILE + "test_msgpack_of_lies",),
    ),
    (
        "read: an integer dtype that was asked for is filled as it comes",
        "weights/_on_device.py",
        "and not np.can_cast(array.dtype, kind):",
        "and array.dtype.kind == 'f':",
        (_DEVICE + "test_no_whole_number_becomes_another",),
    ),
    (
        "read: sizes below zero are taken",
        "weights/readers/_refusing.py",
        "type(n) is int and 0 <= n < 2**63",
        "type(n) is int and n < 2**63",
        (_HOSTILE + "test_npz_whose_header_lies", _HOSTILE + "test_npz_whose_sizes_cancel"),
    ),
    (
        "read: shared lists are walked without end",
        "weights/readers/_trees.py",
        "if values > _MOST or letters > _LETTERS:",
        "if letters > _LETTERS:",
        (_HOSTILE + "test_a_list_that_is_shared_does_not_stand_for_millions",),
    ),
    (
        "read: groups of HDF5 are walked once for each way to them",
        "weights/readers/_hdf5.py",
        "        met.add(place)\n",
        "        met.clear()\n",
        (_HOSTILE + "test_hdf5_whose_groups_stand_in_many_places",),
    ),
    (
        "read: any name may hide a pickle",
        "weights/readers/_read.py",
        "(suffix in _OTHERS or not begin.startswith(_TORCH))",
        "(suffix not in _OTHERS and not begin.startswith(_TORCH))",
        (_FORMATS + "test_the_usual_name_of_the_best_model",),
    ),
]
