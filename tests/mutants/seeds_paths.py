"""Seeded bugs in the grammar of paths: name, file, original, replaced, the tests that must catch it."""

_FILE = "core/module/_paths.py"
_TESTS = ("tests/core/test_paths.py::test_patterns",)
_USED = ("tests/core/test_paths.py::test_choices_are_paths_tuples_and_predicates",)
_TUPLE = ("tests/core/test_paths.py::test_each_choice_of_a_tuple_must_mean_something",)
_SOME = ("tests/core/test_paths.py::test_capture_of_some_gives_what_the_whole_gives",)

MUTANTS = [
    ("a path means its parts alone", _FILE, "|(?:{fnmatch.translate(text + '.*')})", "", _TESTS),
    (
        "a path means what begins like it",
        _FILE,
        "fnmatch.translate(text + '.*')",
        "fnmatch.translate(text + '*')",
        _TESTS,
    ),
    ("dots of a path stand for anything", _FILE, "(?:{fnmatch.translate(text)})", "(?:{text}$)", _TESTS),
    ("brackets are classes of characters only", _FILE, "text = dots(pattern)", "text = pattern", _TESTS),
    ("one of several choices must mean all", _FILE, "return any(means(c", "return all(means(c", _USED),
    ("a tuple to px.freeze may name nothing", "core/module/_copy.py", "in _one_by_one(which):", "in which:", _TUPLE),
    ("px.capture keeps all", "core/looking/_watch.py", " and (only is None or means(only, name, module))", "", _SOME),
]
