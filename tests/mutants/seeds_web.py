"""Faults of pages: what inputs are asked for by, what is refused, what is kept, what a browser may load."""

_WEB = "tests/interchange/test_web.py::"
_ROOM = "interchange/targets/"
_ASKED = (_WEB + "test_what_an_input_is_asked_for_by",)
_REFUSED = (_WEB + "test_what_a_page_cannot_ask_for",)
_NOTHING_LEFT = (_WEB + "test_a_refusal_leaves_nothing_behind",)

MUTANTS = [
    (
        "web: height is an axis further on",
        _ROOM + "_fields.py",
        "height = len(spec.shape) - (3 if coloured else 2)",
        "height = len(spec.shape) - (2 if coloured else 1)",
        _ASKED,
    ),
    (
        "web: labels do not make a row of many numbers",
        _ROOM + "_fields.py",
        "if open_ended or (given is None and count > _ROW):",
        "if open_ended or count > _ROW:",
        _ASKED,
    ),
    (
        "web: a batch of any size makes a row a text",
        _ROOM + "_fields.py",
        "open_ended = any(isinstance(n, str) for n in spec.shape[1:])",
        "open_ended = any(isinstance(n, str) for n in spec.shape)",
        _ASKED,
    ),
    (
        "web: fewer labels than numbers",
        _ROOM + "_fields.py",
        "len(given) != count",
        "len(given) > count",
        _REFUSED,
    ),
    (
        "web: several pictures at once",
        _ROOM + "_fields.py",
        "if isinstance(n, int) and n != 1]",
        "if isinstance(n, int) and n < 1]",
        _REFUSED,
    ),
    (
        "web: labels of inputs that there are not",
        _ROOM + "_web.py",
        "            if name not in known:",
        "            if not known:",
        _NOTHING_LEFT,
    ),
    (
        "web: an output that no page can show",
        _ROOM + "_web.py",
        "for output in () if program.looked_into else program.outputs:",
        "for output in ():",
        _NOTHING_LEFT,
    ),
    (
        "web: layers are held to what pages can show",
        _ROOM + "_web.py",
        "for output in () if program.looked_into else program.outputs:",
        "for output in program.outputs:",
        (_WEB + "test_a_difference_is_looked_for_in_layers_of_any_dtype",),
    ),
    (
        "web: weights that no page can load",
        _ROOM + "_web.py",
        'for data in folder.glob("*.onnx.data"):',
        'for data in folder.glob("*.data.onnx"):',
        (_WEB + "test_weights_that_stand_apart_are_too_many_for_a_page",),
    ),
    (
        "web: npm's packages are looked for here alone",
        _ROOM + "_web.py",
        "for p in (here, *here.parents)]",
        "for p in (here,)]",
        (_WEB + "test_the_package_is_found_where_it_is_named_or_above",),
    ),
    (
        "refresh: a format's settings are forgotten",
        _ROOM + "_target.py",
        "return known.again(details) if isinstance(known, Settled) else name",
        "return name",
        (_WEB + "test_settings_stay_when_files_are_made_anew",),
    ),
    (
        "refresh: scores are taken for shares, or the other way round",
        _ROOM + "_web.py",
        'shares=told["shares"])',
        "shares=None)",
        (_WEB + "test_settings_stay_when_files_are_made_anew",),
    ),
    (
        "export: one format twice, with different settings",
        _ROOM + "_target.py",
        "if len({target.name for target in found}) < len(found):",
        "if len({target.name for target in found}) > len(found):",
        (_WEB + "test_a_format_with_settings_stands_for_itself_once",),
    ),
    (
        "web: a page that may send what is typed",
        _ROOM + "page/index.html",
        "connect-src 'self'",
        "connect-src *",
        (_WEB + "test_the_page_names_no_other_place",),
    ),
]
