"""What people of other libraries write, answered with what one writes here.

_unknown      names that are not here
_options      arguments that a function does not have
_names        the table of names; docs/generate_names.py makes it
_methods      the table of methods of models
_arguments    the table of arguments
"""
