"""Faults of replicas on Ray Serve: their answers, their health, and requests that are asked again."""

_REPLICAS = "tests/serving/test_replicas.py::"
_RAY = "tests/areas/ray/test_serving.py::"
_HERE = "serving/replicas/"

MUTANTS = [
    (
        "replicas: a body is given twice",
        _HERE + "_replica.py",
        "body, self._body = self._body, None",
        "body = self._body",
        (_REPLICAS + "test_who_leaves_is_not_computed_for",),
    ),
    (
        "replicas: who leaves is answered all the same",
        _HERE + "_replica.py",
        "answering.cancel()  # whoever asked has left",
        "pass",
        (_REPLICAS + "test_who_leaves_is_not_computed_for",),
    ),
    (
        "replicas: one that has no model is well",
        _HERE + "_replica.py",
        "if not any(model.available() for model in models):",
        "if False:",
        (_REPLICAS + "test_a_replica_is_not_well_while_nothing_can_be_asked",),
    ),
    (
        "replicas: the folder is looked at once",
        _HERE + "_replica.py",
        "        while True:\n            await asyncio.sleep(self._poll)",
        "        for _ in range(1):\n            await asyncio.sleep(0)",
        (_REPLICAS + "test_a_replica_looks_at_its_folder",),
    ),
    (
        "replicas: keys are not asked for",
        _HERE + "_replica.py",
        "self._journal), told.keys)",
        "self._journal), None)",
        (_REPLICAS + "test_keys_hold_in_each_replica",),
    ),
    (
        "replicas: the fewest and the most are taken in any order",
        _HERE + "_ray.py",
        "    if most < least:",
        "    if False:",
        (_REPLICAS + "test_what_makes_no_sense_is_refused",),
    ),
    (
        "replicas: a request of a replica that died is lost",
        _HERE + "_front.py",
        "for left in reversed(range(self._tries)):",
        "for left in reversed(range(1)):",
        (_RAY + "test_one_replica_is_killed_under_load_and_no_request_is_lost",),
    ),
    (
        "replicas: the prefix of the application stays in the address",
        _HERE + "_front.py",
        'return path.removeprefix(request.scope.get("root_path", "").rstrip("/")) or "/"',
        "return path",
        (_RAY + "test_a_folder_under_a_prefix_answers_all_protocols",),
    ),
]
