"""The Module: an ordinary Python object that is also a JAX pytree, and trees of them.

_module         the Module itself: attributes, calls, the pytree
_class_body     what a class body may say about arrays, and what it may not hide
_layout         one Module taken apart into items and a static layout, and put together again
_hidden         arrays and Modules where no transform would see them, refused
_plan           several Modules together: where every array sits, with sharing kept
_slots          arrays by slot, gathered and written in bulk
_tree           map, paths, modules, norms: over a whole tree
_paths          the grammar of paths and patterns
_at             a part by its path, to read or to replace
_tie            two attributes that are one array
_copy           copies; freeze, thaw, constant
_pure           the pure view: parameters and state by path, and the model from them
_loading        a model's arrays as one flat dict, out and in
_destructure    a tree as one flat vector, and back
_convert        the same model in another dtype or on another device
"""
