"""Structure: which parts of weights belong together, and models without some of them.

_shrinking     px.compress.shrink and units: channels, neurons and heads removed
_dropping      px.compress.drop_layers: whole layers removed
_units         families of parts that are interchangeable
_removing      arrays cut, or zero in the same places, and compared
_sizes         the sizes that layers know of, read anew
_tracing       a model's program read: which indices of which arrays go together
_rules         what each of JAX's operations does with indices
_contractions  and those that sum over them
_reshaping     and axes that are laid together, or apart
_links         indices that go together, and those that must stay
"""
