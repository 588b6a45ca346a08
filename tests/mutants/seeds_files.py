"""Seeded bugs in files and processes: name, file, original, replaced, the tests that must catch it."""

_ODD = "tests/loop/test_checkpoint_odd.py::"
_REPLACING = "tests/weights/test_replacing.py::"
_FORGED = _ODD + "test_a_manifest_of_wrong_types_or_paths_is_damage_and_nothing_is_opened"

MUTANTS = [
    (
        "a forked child keeps the lock of its parent",
        "loop/_checkpoint_lock.py",
        "    for lock in list(_HELD):\n        lock.release()\n",
        "    return\n",
        (_ODD + "test_a_child_keeps_no_lock_of_its_parent",),
    ),
    (
        "a forked child keeps the handlers of its parent",
        "loop/_interruption.py",
        "    for interruption in reversed(_LISTENING):\n        interruption.let_go()\n",
        "",
        (_ODD + "test_a_child_does_with_a_signal_what_it_would_have_done",),
    ),
    (
        "a forked child saves into the folder of its parent",
        "loop/_checkpoint_store.py",
        "return self._lock is not None and self._lock.process != os.getpid()",
        "return False",
        (_ODD + "test_a_child_does_not_save_into_its_parents_folder",),
    ),
    (
        "SIGTERM behind Ctrl-C is lost",
        "loop/_interruption.py",
        "        self.terminated |= number == signal.SIGTERM\n",
        "        self.terminated |= first and number == signal.SIGTERM\n",
        (_ODD + "test_sigterm_behind_ctrl_c_still_ends_the_process",),
    ),
    (
        "a link is deleted with what it leads to",
        "loop/_checkpoint_store.py",
        "if path.is_symlink() or path.is_file():",
        "path = path.resolve()\n            if path.is_file():",
        (_ODD + "test_a_checkpoint_that_was_moved_away_and_linked_back_is_read_and_its_link_alone_goes",),
    ),
    (
        "any folder with the name of a checkpoint is one",
        "loop/_checkpoint_store.py",
        "return not {MANIFEST, STATE, ARRAYS} & set(os.listdir(path))",
        "return False",
        (_ODD + "test_odd_things_alone_are_no_checkpoints",),
    ),
    (
        "what cannot be deleted ends the training",
        "loop/_checkpoint_store.py",
        "            self._stuck.add(path.name)\n",
        "            raise\n",
        (_ODD + "test_what_cannot_be_deleted_is_told_once_and_training_goes_on",),
    ),
    (
        "what took the place of a file is read",
        "weights/_errors.py",
        "if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):",
        "if False:",
        (_ODD + "test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for",),
    ),
    (
        "nobody looks whether a checkpoint was deleted while it was read",
        "loop/_checkpoint_files.py",
        "    check_still_there(folder, manifest)\n",
        "",
        (_ODD + "test_a_reader_whose_checkpoint_is_deleted_takes_the_next",),
    ),
    (
        "a reader whose checkpoint goes does not look again",
        "loop/_checkpoint_load.py",
        "if look == _LOOKS - 1 or not _is_a_rule(which):",
        "if True:",
        (_ODD + "test_a_reader_whose_checkpoint_is_deleted_takes_the_next",),
    ),
    (
        "a damaged checkpoint keeps its name, and the second resume deletes it",
        "loop/_checkpoint_store.py",
        "if self._lock is None or not self._lock.held or not path.is_dir():",
        "if True:",
        (_ODD + "test_a_damaged_checkpoint_outlives_the_resumes_that_follow",),
    ),
    (
        "a checkpoint of a later version is set aside as damaged",
        "loop/_checkpoint_manifest.py",
        "return error.expected == _WHOLE",
        "return True",
        (_ODD + "test_a_checkpoint_of_a_later_phlox_is_passed_over_and_keeps_its_name",),
    ),
    (
        "paths of a manifest lead out of the folder",
        "loop/_checkpoint_manifest.py",
        'part in ("", ".", "..")',
        'part in ("", ".")',
        (_FORGED + "[above]",),
    ),
    (
        "True is a number of steps",
        "loop/_checkpoint_manifest.py",
        "bad = type(value) not in kinds",
        "bad = not isinstance(value, kinds)",
        (_FORGED + "[a step that is true]",),
    ),
    (
        "a link out of a checkpoint is followed",
        "loop/_checkpoint_manifest.py",
        "if os.path.islink(path) and not os.path.realpath(path).startswith(root + os.sep):",
        "if False:",
        (_ODD + "test_a_link_that_leads_out_is_refused",),
    ),
    (
        "the temporary files of others that run are cleared away",
        "weights/_temporary.py",
        "machine == _machine() and not _lives(int(process))",
        "machine == _machine()",
        (_REPLACING + "test_only_what_a_process_has_left_that_is_gone_is_cleared_away",),
    ),
    (
        "temporary files of the dead stay",
        "weights/_replacing.py",
        "    clear_away(target.parent)\n",
        "",
        (_REPLACING + "test_a_process_killed_while_it_writes_leaves_the_old_file",),
    ),
]
