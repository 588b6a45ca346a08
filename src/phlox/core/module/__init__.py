"""The Module: an ordinary Python object that is also a JAX pytree, and trees of them.

_module             the Module itself: attributes, the pytree
_call _class_body   how it is called; what a class body may say about arrays, and what it may not hide
_arrays             what counts as an array, and how the way to one is written
_spec _layout       an attribute, and one Module, with items taken out: static, and compared
_binding _anatomy   a spec, and a layout, bound to what is there now; Modules taken apart and put together
_hidden             arrays and Modules where no transform would see them, refused
_plan               several Modules together: where every array sits, with sharing kept
_slots              arrays by slot, gathered and written in bulk
_tree               map, paths, modules, norms: over a whole tree
_paths              the grammar of paths and patterns
_at                 a part by its path, to read or to replace
_choosing           layers meant by paths, patterns or predicates; others in their place
_tie                two attributes that are one array
_copy _pinned       copies; freeze, thaw, constant; the mode of a part pinned
_pure               the pure view: parameters and state by path, and the model from them
_loading            a model's arrays as one flat dict, out and in
_destructure        a tree as one flat vector, and back
_convert            the same model in another dtype or on another device
"""
