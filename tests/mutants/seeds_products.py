"""Faults of products, biases, gelu and halves on the CPU: what is turned, summed, mapped, widened, and left to XLA."""

_PRODUCTS = "tests/native/test_product_kernels.py::"
_GELU = "tests/native/test_gelu_kernels.py::"
_HERE = "nn/functional/kernels/"

MUTANTS = [
    (
        "kernels: a product's gradient takes the weight as it lies",
        _HERE + "_product.py",
        "_rows(ct, w, turned=not turned, **over)",
        "_rows(ct, w, turned=turned, **over)",
        (_PRODUCTS + "test_products_and_sums_of_whole_numbers_are_exact[deep]",),
    ),
    (
        "kernels: what rows give to a turned weight is turned too",
        _HERE + "_product.py",
        "_weight(ct, x, **over) if turned else _weight(x, ct, **over)",
        "_weight(x, ct, **over)",
        (_PRODUCTS + "test_every_other_derivative_and_map_is_that_of_the_plain_form",),
    ),
    (
        "kernels: a bias gets the mean over rows",
        _HERE + "_product.py",
        "[_sums(ct, **over)]",
        "[_sums(ct, **over) / rows]",
        (_PRODUCTS + "test_products_and_sums_of_whole_numbers_are_exact[a matrix]",),
    ),
    (
        "kernels: a mapped axis of rows stays where it is",
        _HERE + "_product.py",
        "x.shape[along], jnp.moveaxis(x, along, 0)",
        "x.shape[along], x",
        (_PRODUCTS + "test_every_other_derivative_and_map_is_that_of_the_plain_form",),
    ),
    (
        "kernels: thin matrices are multiplied by a call",
        _HERE + "_product.py",
        "if min(sizes) < _THIN:",
        "if max(sizes) < _THIN:",
        (_PRODUCTS + "test_what_is_small_thin_or_of_another_dtype_is_left_to_xla",),
    ),
    (
        "kernels: gelu's gradient mistakes slopes for inputs",
        _HERE + "_gelu.py",
        "_shapes(x))(x, dy)",
        "_shapes(x))(dy, x)",
        (_GELU + "test_value_and_slope_are_right_to_the_last_digits_in_both_tails[shape1]",),
    ),
    (
        "kernels: gelu calls for few numbers",
        _HERE + "_gelu.py",
        "if x.size <= _SMALL else None",
        "if x.size < 0 else None",
        (_GELU + "test_what_the_kernel_does_not_know_is_left_to_the_plain_form",),
    ),
    (
        "kernels: attention of eight queries is left to XLA",
        _HERE + "_attention.py",
        "if q.shape[1] < _FEW else None",
        "if q.shape[1] <= _FEW else None",
        ("tests/native/test_attention_kernels.py::test_value_and_gradients_are_pytorchs[few queries]",),
    ),
    (
        "kernels: recurrent weights in bfloat16 take the plain loop",
        _HERE + "_recurrent.py",
        "return weight.astype(jnp.float32) if weight.dtype == jnp.bfloat16 else weight",
        "return weight",
        ("tests/native/test_recurrent_kernels.py::test_bfloat16_is_computed_in_float32_and_rounded_once",),
    ),
    (
        "doctor: bfloat16 by instructions that are not there",
        _HERE + "_kernels.py",
        "any(name in library.phlox_cpu_instructions().decode() for name in _HALVES)",
        "all(name in library.phlox_cpu_instructions().decode() for name in _HALVES)",
        ("tests/cli/test_doctor.py::test_what_is_done_in_bfloat16",),
    ),
    (
        "kernels: products of bfloat16 where nothing multiplies it",
        _HERE + "_product.py",
        "(arrays[0].dtype == jnp.float32 or multiplies_half())",
        "True",
        ("tests/native/test_product_kernels.py::test_what_is_small_thin_or_of_another_dtype_is_left_to_xla",),
    ),
    (
        "kernels: windows that lie apart are left to XLA",
        _HERE + "_pool.py",
        "if not in_use(x):",
        "if window.stride == window.size or not in_use(x):",
        ("tests/native/test_pool_kernels.py::test_value_and_gradient_are_pytorchs",),
    ),
    (
        "kernels: an LSTM's gates take the place of its states",
        _HERE + "_recurrent.py",
        "input_output_aliases={0: 2})  # gates",
        "input_output_aliases={2: 2})  # gates",
        ("tests/native/test_recurrent_kernels.py::test_any_size[16-2]",),
    ),
    (
        "kernels: an LSTM's gates are lost where their sums' gradient is",
        _HERE + "_recurrent.py",
        "dz, dh0, dc0 = call(w, c0, c, gates, real, dy, dc, reverse=reverse)",
        "dz, dh0, dc0 = call(w, c0, c, dy, real, gates, dc, reverse=reverse)",
        ("tests/native/test_recurrent_kernels.py::test_any_size[16-2]",),
    ),
]
