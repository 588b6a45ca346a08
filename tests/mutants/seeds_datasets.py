"""Seeded bugs in fetching and in reading shards: name, file, original, replaced, the tests that must catch it."""

_FETCHING = "tests/data/test_fetching.py::"
_DATASETS = "tests/data/test_datasets.py::"
_TFRECORD = "tests/data/test_shards_tfrecord.py::"
_WEBDATASET = "tests/data/test_shards_webdataset.py::"

MUTANTS = [
    (
        "a file is resumed though it changed meanwhile",
        "data/fetching/_transfer.py",
        '        request.add_header("If-Range", origin.version)\n',
        "",
        (_FETCHING + "test_a_file_that_changed_meanwhile_begins_anew",),
    ),
    (
        "a whole answer is put behind what is there",
        "data/fetching/_part.py",
        '"""Throw away what is there; what follows is of this origin."""\n        self.clear()\n',
        '"""Throw away what is there; what follows is of this origin."""\n',
        (_FETCHING + "test_a_server_without_ranges_begins_anew",),
    ),
    (
        "a file is kept whatever its checksum",
        "data/fetching/_fetch.py",
        "        if part.sha256 == file.sha256:\n            return None\n        why",
        "        if part.size == file.size:\n            return None\n        why",
        (_FETCHING + "test_a_wrong_checksum_is_not_kept_and_says_what_to_put_where",),
    ),
    (
        "nobody waits for who fetches the same file",
        "data/fetching/_part.py",
        "fcntl.flock(file, fcntl.LOCK_EX)",
        "fcntl.flock(file, fcntl.LOCK_SH)",
        (_FETCHING + "test_two_at_once_fetch_once",),
    ),
    (
        "Ctrl-C throws away what has come",
        "data/fetching/_part.py",
        "        if not os.fstat(file.fileno()).st_size:\n",
        "        if path.exists():\n",
        (_FETCHING + "test_control_c_leaves_what_can_be_resumed",),
    ),
    (
        "an archive writes above its folder",
        "data/fetching/_unpacking.py",
        'or ".." in name.parts',
        "",
        (_FETCHING + "test_tricks_of_archives_are_refused_and_leave_nothing",),
    ),
    (
        "CIFAR-100's groups are its classes",
        "data/sets/_reading.py",
        "classes=classes, coarse=coarse)",
        "classes=classes, coarse=not coarse and classes == 100)",
        (_DATASETS + "test_cifar_is_unpacked_once",),
    ),
    (
        "SVHN's zero is a ten",
        "data/sets/_reading.py",
        "(labels % 10)",
        "(labels)",
        (_DATASETS + "test_svhn_begins_with_the_images_and_its_tens_are_zeros",),
    ),
    (
        "a mirror has the files of the makers too",
        "data/sets/_datasets.py",
        "addresses=(bases + file.name,)",
        "addresses=(*file.addresses, bases + file.name)",
        (_DATASETS + "test_a_mirror_takes_the_place_of_the_addresses_and_not_of_the_checksums",),
    ),
    (
        "the checksum of a record is not looked at",
        "data/readers/shards/_framing.py",
        "    if crc != stored:\n",
        "    if crc != stored and not data:\n",
        (_TFRECORD + "test_files_that_are_not_whole",),
    ),
    (
        "the checksum of long data forgets where its register began",
        "data/readers/shards/_crc32c.py",
        "[:4] ^= 0xFF",
        "[:3] ^= 0xFF",
        (_TFRECORD + "test_checksums_are_those_of_tensorboardx",),
    ),
    (
        "a negative number loses its highest bit",
        "data/readers/shards/_examples.py",
        "(data & 127).astype(np.uint64) << (7 * place)",
        "(data & 127).astype(np.uint64) << (7 * place % 63)",
        (_TFRECORD + "test_examples_of_every_kind_packed_or_not",),
    ),
    (
        "of numbers that are not packed the last one is left",
        "data/readers/shards/_examples.py",
        "return np.concatenate(found).view(np.int64) if found",
        "return found[-1].view(np.int64) if found",
        (_TFRECORD + "test_examples_of_every_kind_packed_or_not",),
    ),
    (
        "the files of a stream have one order for all epochs",
        "data/readers/shards/_shards.py",
        "[self._seed, self._epoch]",
        "[self._seed, 0]",
        (_TFRECORD + "test_a_stream_has_the_order_of_the_seed_and_the_epoch",),
    ),
    (
        "an error of a stream is passed over by who goes on",
        "data/readers/shards/_shards.py",
        "                self.close()  # whoever",
        "                pass  # whoever",
        (_TFRECORD + "test_an_error_of_a_stream_comes_again_and_is_not_passed_over",),
    ),
    (
        "a sample's place is behind the next one's first header",
        "data/readers/shards/_webdataset.py",
        "yield member.start, (now, raw)",
        "yield member.at, (now, raw)",
        (_WEBDATASET + "test_a_stream_goes_on_at_once_where_its_state_was_taken",),
    ),
    (
        "a damaged header ends a tar file",
        "data/readers/shards/_tar.py",
        '        raise corrupt(f"a member of a tar file at byte {offset}", str(error), path, where) from None\n',
        "        return None\n",
        (_WEBDATASET + "test_files_that_are_not_whole",),
    ),
    (
        "arrays are unpickled",
        "data/readers/shards/_decoding.py",
        "allow_pickle=False",
        "allow_pickle=True",
        (_WEBDATASET + "test_members_that_are_wrong_are_named",),
    ),
]
