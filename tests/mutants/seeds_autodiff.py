"""Faults of reverse mode and of checks of gradients."""

_RULES = "tests/autodiff/test_rules.py::test_gradients_are_those_of_jax"
_BACKWARD = "tests/autodiff/test_backward.py::"
_FLOW = "tests/autodiff/test_flow.py::"
_CHECK = "tests/autodiff/test_gradcheck.py::"
_TABLE = "autodiff/_rules.py"
_WINDOWS = "autodiff/_windows.py"
_PLACES = "autodiff/_places.py"
_LINEAR = "autodiff/_linear_algebra.py"


def _rule(name: str, original: str, replaced: str, family: str, file: str = _TABLE) -> tuple[object, ...]:
    return (f"reverse mode: {name}", file, original, replaced, (f"{_RULES}[{family}]",))


MUTANTS = [
    _rule("the cosine's slope has no sign", "-g * sin(x)", "g * sin(x)", "elementwise"),
    _rule("the logistic's slope is that of tanh", "g * y * (1 - y)", "g * (1 - y * y)", "elementwise"),
    _rule("expm1's slope is its value", "g * (y + 1)", "g * y", "elementwise"),
    _rule("the cube root's slope lacks its third", "g * y / (3 * x)", "g * y / x", "elementwise"),
    _rule("the absolute value has no slope at zero", "jnp.where(x >= 0, g, -g)", "g * jnp.sign(x)", "elementwise"),
    _rule("a quotient's divisor is not squared", "-g * a / (b * b)", "-g * a / b", "pairs"),
    _rule(
        "of two equal numbers the first has it all",
        "g * where(a > b, 1, where(a == b, 0.5, 0))",
        "g * where(a > b, 1, where(a == b, 1, 0))",
        "pairs",
    ),
    _rule("a power by 0 has a slope", "jnp.where(b == 0, 1, b - 1)", "(b - 1)", "pairs"),
    _rule("a clamp lets its bounds pass", "where((x > low) & (x < high), g, 0)", "g", "pairs"),
    _rule("imaginary parts come back without a sign", "paired(0 * g, -g)", "paired(0 * g, g)", "complex"),
    _rule(
        "a permutation is not inverted",
        "jnp.transpose(g, sorted(range(len(there)), key=there.__getitem__))",
        "jnp.transpose(g, there)",
        "shapes",
    ),
    _rule(
        "what a slice left out is at its other end",
        "(a, b, stride - 1) for a, b",
        "(b, a, stride - 1) for a, b",
        "shapes",
    ),
    _rule("the number that pads has no cotangent", "jnp.sum(g) - jnp.sum(x)", "jnp.sum(g)", "shapes"),
    _rule(
        "axes of size one are not summed", "type_.shape[a - extra] != size]", "False]", "shapes", "autodiff/_walk.py"
    ),
    _rule(
        "equal greatest ones have all of it each",
        "expand_dims(g / jnp.sum(there, axes), axes)",
        "expand_dims(g, axes)",
        "reductions",
    ),
    _rule("a running sum goes back the way it came", 'not step["reverse"])]', 'step["reverse"])]', "reductions"),
    _rule(
        "windows over a cotangent begin one too late",
        "before = taps - low - 1",
        "before = taps - low",
        "reductions",
        _WINDOWS,
    ),
    _rule("of equal extremes the last is taken", "(a[1] < b[1])", "(a[1] > b[1])", "reductions", _WINDOWS),
    _rule(
        "a window's extreme is its place's number",
        "fill_value=0), None]",
        "fill_value=0) * 0, None]",
        "reductions",
        _WINDOWS,
    ),
    _rule(
        "writes that were overwritten count",
        "_gathered(step, last) == own",
        "_gathered(step, last) > 0",
        "parts",
        _PLACES,
    ),
    _rule("what was there before a write counts", "jnp.where(last == 0, g, 0)", "g", "parts", _PLACES),
    _rule(
        "what is taken away comes back with no sign", "-_gathered(step, g)]", "_gathered(step, g)]", "parts", _PLACES
    ),
    _rule(
        "a factor's cotangent lacks what it multiplies",
        "_gathered(step, g * x)",
        "_gathered(step, g)",
        "parts",
        _PLACES,
    ),
    _rule(
        "Cholesky's diagonal is not halved",
        "axis1=-2, axis2=-1)) / 2",
        "axis1=-2, axis2=-1)) * 0",
        "linear",
        _LINEAR,
    ),
    _rule("Cholesky's cotangent is conjugated", "lower=True, conjugate_a=True)]", "lower=True)]", "linear", _LINEAR),
    _rule(
        "a triangle with ones has a slope there",
        'off = 1 if step["unit_diagonal"] else 0',
        "off = 0",
        "linear",
        _LINEAR,
    ),
    _rule(
        "a triangle's other side is solved for",
        "-_dot(g_b, _t(x)) if left else -_dot(_t(x), g_b)",
        "-_dot(g_b, _t(x)) if left else -_dot(_t(g_b), x)",
        "linear",
        _LINEAR,
    ),
    _rule(
        "eigenvectors turn the other way",
        "w[..., None, :] - w[..., :, None]",
        "w[..., :, None] - w[..., None, :]",
        "linear",
        _LINEAR,
    ),
    _rule("eigenvalues do not count", "_diagonal(g_w.astype(v.dtype)) + apart", "apart", "linear", _LINEAR),
    _rule("rows of a factorisation stay exchanged", ".at[order].set(whole)", ".at[:].set(whole)", "linear", _LINEAR),
    _rule(
        "the lower factor takes the diagonal too",
        "jnp.tril(_dot(_t(lower), g), -1)",
        "jnp.tril(_dot(_t(lower), g))",
        "linear",
        _LINEAR,
    ),
    _rule(
        "diagonals stay where they are in a transpose", "jnp.roll(v, n, -1)", "jnp.roll(v, 0, -1)", "linear", _LINEAR
    ),
    _rule("a linear solve's matrix has the wrong sign", "[-g for g in g_b]", "list(g_b)", "linear", _LINEAR),
    _rule("a kernel is not turned round", "turned = lax.rev(kernel, space)", "turned = kernel", "products", _WINDOWS),
    _rule(
        "strides of a convolution are no dilations back",
        "g, turned, dilation, around, strides,",
        "g, turned, dilation, around, dilation,",
        "products",
        _WINDOWS,
    ),
    _rule("half a spectrum counts once", ".set(2)", ".set(1)", "fourier"),
    _rule(
        "a scan goes back from its first step",
        "length, not reverse)",
        "length, reverse)",
        "control",
        "autodiff/_control.py",
    ),
    _rule(
        "a scan's constants have the cotangent of its first step",
        "[a + b for a, b in zip(total, more, strict=True)]",
        "[b for a, b in zip(total, more, strict=True)]",
        "control",
        "autodiff/_control.py",
    ),
    _rule(
        "a value that is read twice keeps one cotangent",
        "cotangents[number] + g if number",
        "g if number",
        "control",
        "autodiff/_walk.py",
    ),
    (
        "reverse mode: a loop goes back once more than it went round",
        "autodiff/_control.py",
        "carry, rounds = list(start), 0",
        "carry, rounds = list(start), 1",
        (_BACKWARD + "test_a_while_loop_is_walked_back_as_often_as_it_went_round",),
    ),
    (
        "reverse mode: rules that are replaced are not those of loops",
        "autodiff/_control.py",
        "*began, *x], seeds, wanted, step.rules)",
        "*began, *x], seeds, wanted, vars(__import__('sys').modules['phlox.autodiff._rules'])['RULES'])",
        (_BACKWARD + "test_a_rule_is_replaced_inside_loops_too",),
    ),
    (
        "reverse mode: a cotangent is changed inside of a layer too",
        "autodiff/_rewriting.py",
        "and _leaves(program, n, layer)]",
        "]",
        (_BACKWARD + "test_a_cotangent_is_clipped_scaled_looked_at_or_stopped_at_a_path",),
    ),
    (
        "reverse mode: an error without a rule names no layer",
        "autodiff/_backward.py",
        'return f"{layer} {self._layers[layer]}" if layer in self._layers else "the function"',
        'return "the function"',
        (_BACKWARD + "test_an_operation_without_a_rule_is_named_with_its_layer",),
    ),
    (
        "reverse mode: State stays where it was",
        "autodiff/_backward.py",
        "written = outputs[1 : 1 + count]",
        "written = [call.leaves[i] for i in self._record.written]",
        (_BACKWARD + "test_a_program_runs_on_other_numbers_and_moves_state_as_px_grad_does",),
    ),
    (
        "gradcheck: what is allowed is ten thousand times as much",
        "autodiff/_gradcheck.py",
        "<= rtol * max(abs(ours), abs(slope)) + room:",
        "<= 1e4 * rtol * max(abs(ours), abs(slope)) + room:",
        (_CHECK + "test_an_error_of_one_in_ten_thousand_is_found_and_named",),
    ),
    (
        "gradcheck: the first element is called the worst",
        "autodiff/_gradcheck.py",
        "n = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))",
        "n = 0",
        (_CHECK + "test_an_error_of_one_in_ten_thousand_is_found_and_named",),
    ),
    (
        "gradcheck: the difference is of the second order",
        "autodiff/_gradcheck.py",
        "(8 * (whole[:, 2] - whole[:, 3]) - (whole[:, 0] - whole[:, 1])) / (6 * steps)",
        "(whole[:, 0] - whole[:, 1]) / (2 * steps)",
        (_CHECK + "test_where_all_is_analytic_a_complex_step_needs_no_subtraction",),
    ),
    (
        "gradcheck: imaginary parts of results are not looked at",
        "autodiff/_gradcheck.py",
        "total = jnp.real(total) + jnp.sum(jnp.imag(y) *",
        "total = jnp.real(total) + 0 * jnp.sum(jnp.imag(y) *",
        (_CHECK + "test_both_parts_of_complex_results_count",),
    ),
    (
        "gradcheck: a gradient that is no number passes",
        "autodiff/_gradcheck.py",
        "if not abs(ours - slope) <= rtol",
        "if abs(ours - slope) > rtol",
        (_CHECK + "test_a_gradient_that_is_no_number_fails",),
    ),
    (
        "gradient_flow: norms of large numbers overflow",
        "autodiff/_flow.py",
        "norm = most * jnp.sqrt(jnp.sum((x / jnp.where(most == 0, 1, most)) ** 2))",
        "norm = jnp.sqrt(jnp.sum(x**2))",
        (_FLOW + "test_loops_and_large_numbers_have_sizes",),
    ),
    (
        "gradient_flow: a layer is beside the one furthest from the loss",
        "autodiff/_flow_report.py",
        "reference = sizes[-1]",
        "reference = sizes[0]",
        (_FLOW + "test_where_a_gradient_goes_beyond_its_bounds_is_named",),
    ),
    (
        "gradient_flow: a norm is called a root mean square",
        "autodiff/_flow.py",
        "count = sum(math.prod(flat.types[n].shape) for n in numbers)",
        "count = 1",
        (_FLOW + "test_sizes_are_those_of_pytorch",),
    ),
    (
        "gradient_flow: the optimiser takes its step",
        "autodiff/_flow.py",
        "copy(optimizer).update(after, gradient)",
        "optimizer.update(after, gradient)",
        (_FLOW + "test_nothing_is_moved",),
    ),
    (
        "gradient_flow: the last line back that gives no number is named",
        "autodiff/_flow.py",
        "(*forward, *seen.handed)",
        "(*forward, *seen.handed[::-1])",
        (_FLOW + "test_the_first_line_back_that_gives_no_number_is_named_with_its_source",),
    ),
    (
        "gradient_flow: a line comes from where Phlox wrote it",
        "core/_compat.py",
        "others = (ours, os.path",
        "others = (os.path",
        (_FLOW + "test_the_first_line_back_that_gives_no_number_is_named_with_its_source",),
    ),
]
