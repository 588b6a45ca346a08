"""Write docs/gradients.md: a gradient read line by line, checked and rewritten, and the table of its rules."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from phlox.autodiff import backward
from phlox.autodiff._rules import ABSENT, RULES, STOPS

assert backward  # by whose import the rules of loops are in the table

ROOT = Path(__file__).resolve().parent.parent

TEXT = """\
# Gradients, line by line

`px.grad` gives a gradient; `px.autodiff.backward` writes it down, as a program that a person can read, run and change.
`px.gradcheck` holds any gradient against slopes that are measured without one; `px.autodiff.gradient_flow` tells where
one fades, grows or breaks; `px.autodiff.derivative` prepares derivatives of every kind.

## One gradient of a small network, followed back

>>> import jax
>>> import jax.numpy as jnp
>>> import phlox as px

>>> with px.seed(0):
...     model = px.Chain(hidden=px.Dense(3, 4, px.tanh), out=px.Dense(4, 1))
>>> x, y = jnp.ones((8, 3)), jnp.zeros((8, 1))

>>> def loss(model, x, y):
...     return jnp.mean((model(x) - y) ** 2)

>>> program = px.autodiff.backward(loss, model, x, y)
>>> print(program)
forward                                            value          layer          flops
  a = dot_general(x, layers.hidden.weight)         float32[8, 4]  layers.hidden  192
  b = broadcast_in_dim(layers.hidden.bias)         float32[1, 4]  layers.hidden    0
  c = add(a, b)                                    float32[8, 4]  layers.hidden   32
  d = tanh(c)                                      float32[8, 4]  layers.hidden   32
  e = dot_general(d, layers.out.weight)            float32[8, 1]  layers.out      64
  f = broadcast_in_dim(layers.out.bias)            float32[1, 1]  layers.out       0
  g = add(e, f)                                    float32[8, 1]  layers.out       8
  h = sub(g, y)                                    float32[8, 1]                   8
  i = integer_pow(h)                               float32[8, 1]                   8
  j = reduce_sum(i)                                float32[]                       8
  k = div(j, 8)                                    float32[]                       1
back
  ∂j = ∂k / 8                                      float32[]                       1
  ∂i = broadcast(∂j)                               float32[8, 1]                   0
  ∂h = ∂i * 2 * h**(2 - 1)                         float32[8, 1]                  24
  ∂g = ∂h                                          float32[8, 1]                   0
  ∂e = ∂g                                          float32[8, 1]  layers.out       0
  ∂f = ∂g                                          float32[1, 1]  layers.out       8
  ∂layers.out.bias = sum(∂f) over the new axes     float32[1]     layers.out       1
  ∂d = dot(∂e, layers.out.weight)                  float32[8, 4]  layers.out      64
  ∂layers.out.weight = dot(d, ∂e)                  float32[4, 1]  layers.out      64
  ∂c = ∂d * (1 - d * d)                            float32[8, 4]  layers.hidden   96
  ∂a = ∂c                                          float32[8, 4]  layers.hidden    0
  ∂b = ∂c                                          float32[1, 4]  layers.hidden   32
  ∂layers.hidden.bias = sum(∂b) over the new axes  float32[4]     layers.hidden    4
  ∂layers.hidden.weight = dot(x, ∂a)               float32[3, 4]  layers.hidden  192

Read it from the middle. `k` is the loss, and `∂k` is 1: by how much the loss moves when `k` does. Every value above has
such a number for each of its elements, its *cotangent*, and the lines below `back` find them, last value first.

- `k = j / 8`: when `j` moves by one, `k` moves by an eighth, so `∂j = ∂k / 8`.
- `j` is a sum: each element of `i` moves it alike, so `∂i` is `∂j`, repeated. What a sum does forward, a broadcast does
  back, and the other way round: see what becomes of the bias.
- `i = h ** 2`: the slope is `2 h`, at the `h` that came by on the way forward. This is why training remembers what the
  forward pass computed.
- `g = e + f`: both have all of `∂g`. No gradient is lost in a sum, which is what a residual connection lives on.
- `e = d @ weight`: the weight's gradient is what came in, `d`, times what comes back, `∂e`; what flows on to `d` goes
  through the same weight. A layer with small weights sends little back.
- `d = tanh(c)`: `∂c` is `∂d` times `1 - d²`, which is next to nothing where `d` is close to 1 or -1: a unit that is
  saturated learns nothing, and nothing below it learns through it.
- `y` and `x` have no line: nobody asked for their gradients, so they are not computed.

- `c = a + b`, and `b` is the bias, repeated for each example. It moves the loss through all of them, so `∂bias` is the
  sum of `∂b` over the batch: the axis that the way forward repeated is the one that the way back adds up.
- `a = x @ weight`: as with `e`, what came in times what comes back.

Nothing else happens in training; the lines can be done by hand, and the numbers are those of `px.grad`:

>>> hidden, out = model.layers["hidden"], model.layers["out"]
>>> d = jnp.tanh(x @ hidden.weight + hidden.bias)
>>> h = d @ out.weight + out.bias - y
>>> dh = 1 / 8 * 2 * h
>>> dd = dh @ out.weight.T
>>> dc = dd * (1 - d * d)
>>> by_hand = [x.T @ dc, dc.sum(0), d.T @ dh, dh.sum(0)]
>>> theirs = px.paths(px.grad(loss)(model, x, y)).values()
>>> [bool(jnp.allclose(a, b, atol=1e-6)) for a, b in zip(by_hand, theirs)]
[True, True, True, True]

A value that is read twice has two lines, the second with `+=`. A call runs the program; its numbers are those of
`px.grad`, and State that the model moves is written back.

>>> value, grads = program(model, x, y)
>>> bool(jnp.allclose(grads.layers["out"].weight, px.grad(loss)(model, x, y).layers["out"].weight))
True

`program.rows` holds the lines with their operations and bytes.

>>> back = [row for row in program.rows if row.direction == "back"]
>>> max(back, key=lambda row: row.flops).text
'∂layers.hidden.weight = dot(x, ∂a)'

Calls are opened; loops (`px.scan`), branches and functions with rules of their own are one line each, whose bodies are
walked by the same rules. A loop of `while` is walked back as often as it went round, which `jax.grad` refuses; its
rounds must be known when the program runs, so not under `px.jit`. A program is a function like others: `px.grad`,
`px.jit` and another `backward` take it.

## Changed on its way

`rewrite` acts on what flows back, by path: that of a layer means the cotangent of what the layer gives, that of an
array its gradient. What the function returns goes on; None leaves it as it is, for functions that look.

>>> clipped = px.autodiff.backward(loss, model, x, y, rewrite={"layers.out": lambda g: jnp.clip(g, -0.01, 0.01)})
>>> _, grads = clipped(model, x, y)
>>> bool(jnp.abs(grads.layers["out"].bias).max() <= 0.0801)
True
>>> stopped = px.autodiff.backward(loss, model, x, y, rewrite={"layers.hidden.*": jnp.zeros_like})
>>> float(px.global_norm(stopped(model, x, y)[1].layers["hidden"]))
0.0

The name of an operation replaces its rule. This one lets a gradient pass `tanh` as if it were not there, which is how
networks are trained whose activations are steps:

>>> straight = {"tanh": lambda step, g: [g]}
>>> program = px.autodiff.backward(lambda x: jnp.sum(jnp.tanh(x)), jnp.arange(3.0), rewrite=straight)
>>> program(jnp.arange(3.0))[1].tolist()
[1.0, 1.0, 1.0]

An operation without a rule is refused with its layer's name; `rewrite` takes a rule for it too.

>>> groups = jnp.array([3, 5])
>>> px.autodiff.backward(lambda x: jax.lax.ragged_dot(x, jnp.ones((2, 3, 4)), groups).sum(), x)
Traceback (most recent call last):
phlox.core._errors.StructureError: the function expects ..., got ragged_dot_general, which has none
  fix: give one, rewrite={"ragged_dot_general": rule}, or take px.grad, which knows all of JAX's

## Where it fades, grows or breaks

`px.autodiff.gradient_flow` measures all of that at once: for each layer the root mean square of what it gives and of
the cotangent that comes back to it, for each array its norm and that of its gradient, and with an optimiser how far the
next step goes. Layers whose gradient is less than a thousandth, or more than a thousand times, that of the last are
named; `vanishing=` and `exploding=` set the bounds. Nothing is changed.

>>> with px.seed(0):
...     deep = px.Chain(*[px.Dense(8, 8, px.sigmoid) for _ in range(6)], px.Dense(8, 1))
>>> inputs = jnp.linspace(-1.0, 1.0, 32).reshape(4, 8)
>>> opt = px.Optimizer(px.optim.Adam(1e-3), deep)
>>> flow = px.autodiff.gradient_flow(deep, lambda model, x: jnp.mean(model(x) ** 2), inputs, optimizer=opt)
>>> print(flow)
Chain: loss ...; root mean squares by layer, norms by array
vanishing: layers.0 to layers.1
layer    ┃ output ┃ gradient ┃ array  ┃ ‖w‖ ┃    ‖∂w‖ ┃   step ┃
━━━━━━━━━╇━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━╇━━━━━╇━━━━━━━━━╇━━━━━━━━╇━━━━━━━━━━
layers.0 │ ...    │ ...      │ weight │ ... │ ...     │ ...    │ vanishing
...
>>> flow.named("vanishing")
('layers.0', 'layers.1')
>>> figure = flow.plot()

![Outputs and gradients of nine layers of sigmoids, and the next step of each array](images/gradient-flow.png)

Of a NaN the line is named that made it first, forward or back, with the line of the file that it comes from. Here the
slope of a root at zero, which the value does not show:

>>> flow = px.autodiff.gradient_flow(deep, lambda model, x: jnp.sqrt(jnp.abs(model(x) * 0.0)).sum(), inputs)
>>> flow.first_bad
Place(direction='back', layer='', line='∂... = ∂... / (2 * ...)', source='...', count=4)

What a loop does is one line; its bodies are not looked into.

## Checked

`px.gradcheck` compares `px.grad` with slopes along random directions, in float64. Where all operations are analytic the
slope comes from one complex step, which subtracts nothing and is right to the last digits; elsewhere from differences.
`px.gradgradcheck` does the same for second derivatives.

>>> with jax.enable_x64(True):
...     wide, inputs = px.f64(model), jnp.linspace(0.0, 1.0, 24).reshape(8, 3)
...     px.gradcheck(lambda model, x: model(x), wide, inputs).method
'complex step'

Where they disagree, the worst element is named:

>>> @px.custom_vjp
... def cube(x):
...     return x**3
>>> cube.defvjp(lambda x: (x**3, x), lambda x, g: (g * 3 * x**2 * jnp.array([1.0, 1.0001]),))
>>> with jax.enable_x64(True):
...     px.gradcheck(cube, jnp.array([1.0, 2.0]))
Traceback (most recent call last):
phlox.autodiff._gradcheck.GradientError: px.gradcheck expects the slope of the function, ... at x[1], got ...
  fix: look at the rules that the function brings along (custom_vjp, stop_gradient), or move off a kink

## Prepared once, in any mode

`px.autodiff.derivative` holds a function's derivatives: `gradient`, `jacobian`, `hessian`, the products `jvp`, `vjp`
and `hvp`, and `directional` for higher ones along a direction. Each is compiled at its first call and then reused;
`prepared` counts. Without a mode the cheaper is taken by the sizes, and `reason` tells which and why.

>>> def field(x):
...     return jnp.stack([jnp.prod(x), jnp.sum(jnp.sin(x))])
>>> slopes = px.autodiff.derivative(field)
>>> slopes.jacobian(jnp.arange(1.0, 5.0)).shape
(2, 4)
>>> slopes.reason
'reverse, 2 products for 4 inputs and 2 outputs, where forward would take 4'
>>> _ = slopes.jacobian(jnp.ones(4))
>>> slopes.prepared
1

| `mode=` | what it does | gives |
|---|---|---|
| `"forward"` | a product for each input | `gradient` `jacobian` `hessian` `jvp` `hvp` `directional` |
| `"reverse"` | a product for each output | `gradient` `jacobian` `hessian` `vjp` `hvp` |
| `"auto"` | the cheaper of the two by sizes; Taylor mode along directions | all of them |
| `"finite"` | differences, of what JAX can run and not differentiate | `gradient` `jacobian` `hessian` `jvp` |
| `"sparse"` | a product for each colour of the pattern | `jacobian` `hessian` |
| `"taylor"` | polynomials of any degree in one pass | `jvp` `directional` |

Second derivatives are forward over reverse in the first three. Those and the products take Modules and trees, and move
State as `px.grad` does; "finite", "sparse" and "taylor" take one array, return one, and refuse to move State.

Where each result depends on few inputs, most of a Jacobian is zero. Mode "sparse" reads the pattern from the program of
the product, colours it, and finds all columns (or rows, or of a Hessian stars) of one colour by one product. The result
is a `BCOO` of `jax.experimental.sparse`.

>>> def energy(x):
...     return jnp.sum((x[1:] - x[:-1] ** 2) ** 2)
>>> slopes = px.autodiff.derivative(energy, "sparse")
>>> slopes.hessian(jnp.linspace(0.0, 1.0, 1000)).nse
2998
>>> slopes.reason
'sparse, 3 products by stars: 2998 of 1000 x 1000'

The pattern may be wider than what holds, never narrower. Numbers that stand in the function count, so a constant matrix
keeps its zeros; arguments do not, as they may differ at the next call. A choice by value takes both sides, and an
operation that is not looked into mixes all it reads: sorting, Fourier transforms, linear systems, windows, and places
that are computed. Scans are followed step by step, loops of `while` as far as their rounds are known.

Along a direction, mode "taylor" gives the derivatives of t ↦ f(x + t v) to any order, by polynomials that are carried
through. JAX has its rules for most operations; of loops and functions with a rule of their own it has not, and forward
mode in forward mode, of which the work doubles with each order, takes their place and says so.

>>> slopes = px.autodiff.derivative(jnp.exp, "taylor")
>>> [round(float(y), 3) for y in slopes.directional((0.0,), 2.0, order=4)]
[1.0, 2.0, 4.0, 8.0, 16.0]
>>> slopes.reason
'taylor, one pass with polynomials of degree 4'

## The table

Each operation with what the cotangent `∂y` of its result becomes, for its operands `a`, `b`, `c`, separated by `;`
where each has a rule of its own. Formulas are the code that runs: called with names, it writes itself.

| operations | cotangents of the operands |
|---|---|
"""

ENDS = """
No gradient passes {stops}.

## What there is not

Rules for some operations, which `px.grad` knows:

{absent}

Rules end where JAX's do, and say so: a singular value decomposition with full matrices, some eigenvalues of many,
factors that may meet at one place. Of a checkpoint the program keeps values in place of computing them again. Kernels
of `phlox-cpu` are left out of it, as nobody can read them.
"""


def main() -> None:
    """Write the page."""
    rows: dict[str, list[str]] = defaultdict(list)
    for name, rule in RULES.items():
        operands = [["a", "b", "c"][i] for i in range(3)]
        texts = [rule.writes(["∂y"], operands, ["y"], _Named(), i) for i in range(rule.texts)]
        rows["; ".join(filter(None, texts))].append(f"`{name}`")
    table = [f"| {' '.join(names)} | `{text}` |" for text, names in rows.items()]
    stops = ", ".join(f"`{name}`" for name in sorted(STOPS))
    absent = "\n".join(f"- `{name}`: {what}" for name, what in ABSENT.items())
    page = TEXT + "\n".join(table) + "\n" + ENDS.format(stops=stops, absent=absent)
    (ROOT / "docs" / "gradients.md").write_text(page, "utf-8")


class _Named(dict[str, str]):
    """Parameters of an operation, each called ``n``."""

    def __missing__(self, name: str) -> str:
        return "n"


main()
