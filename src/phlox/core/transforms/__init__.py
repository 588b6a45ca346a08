"""The transforms: a call on objects as a pure function of arrays, and JAX's transforms applied to it.

_functionalize                     the one function under all of them; read it first
_bound _disguise                   functions that bring Modules along; Modules whose calls go through something else
_jit _keys                         compiled functions, the fast path; what tells one call from another
_program _ahead _cache             compiled programs and donation; made ahead of time; kept on disk
_retrace _surroundings             why a function was traced again, and what it reads around it
_grad _derivatives                 gradients; vjp, jvp, jacobian, hessian
_vmap                              one example to many
_loops _carry _carried _cond       scan and while_loop, what goes round in them, branches
_remat _custom _shapes             memory for time, what flows back changed by hand, shapes alone
_names _refused                    what the user calls things; what JAX refuses, in those words
"""
