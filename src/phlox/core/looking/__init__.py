"""Looking inside: a model printed, activations, programs, and what is wrong with numbers.

_display         a model as the constructor calls that would build it
_line            a line of it, with what the part holds
_display_html    the same for notebooks
_health          lost buffers, NaN, Inf, all zero
_watch           activations by path, and the first layer that gives no number
_plain_text      what rich draws, without colours
_figure          a figure of matplotlib that belongs to no window
_listing         the text of a compiled program, read
_layers          layers' paths, left in a traced program
_explain         what a function compiles to, what it costs, why it was traced again
"""
