"""Arrays of another library, matched with a model's own.

_leaves       the arrays of a model, each with the layer that owns it
_layouts      what another library calls a layer's array, and in which order it keeps the axes
_slots        where one array of the model comes from: whole, a part of a fused one, a stack of several
_names        NameMap: a family's names, both ways
_recurrent    recurrent layers as cells of Phlox, before anything is matched
_guess        matching by name and shape, where nobody gave names
_placing      arrays of a file written into a model
_convert      px.weights.convert, and its report
"""
