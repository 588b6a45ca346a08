"""Faults of kernels over several devices, and of sums that go together."""

_KERNELS = "tests/parallel/test_kernels.py::test_kernels"
_MESSAGES = "tests/parallel/test_messages.py::test_messages_of_a_compiled_step"
_NUMBERS = "tests/parallel/test_messages.py::test_numbers_are_those_of_one_device"
_PARTS, _LATE = "nn/functional/kernels/_parts.py", "parallel/_late_sums.py"
_ROLES = 'from phlox.nn.functional.kernels._parts import Roles\n_roles = Roles("rww", "rww")\n'

MUTANTS = [
    (
        "spread kernels: the gradient of a weight is one device's",
        _PARTS,
        'return [jnp.sum(a, 0) if letter == "s" else a for a, letter in found]',
        'return [a[0] if letter == "s" else a for a, letter in found]',
        (_KERNELS + "[check_each_family_calls_for_its_rows]",),
    ),
    (
        "spread kernels: calls in programs whose features are cut",
        _PARTS,
        "        if not self.only:\n            return False\n",
        "",
        (_KERNELS + "[check_where_features_or_time_are_cut_the_form_is_plain]",),
    ),
    (
        "spread kernels: a part of a batch is cut as a batch",
        _PARTS,
        "all(a.shape[0] % self.rows == 0 and a.shape[0] % self.count == 0 for a in cut)",
        "all(a.shape[0] % self.count == 0 for a in cut)",
        (_KERNELS + "[check_where_rows_do_not_divide_or_are_not_the_batchs_the_form_is_plain]",),
    ),
    (
        "spread kernels: statistics of a batch are each device's",
        "nn/functional/kernels/_norm.py",
        '_forward = Kernel("phlox_batch_norm", _plain, _call, _shapes, _declines, several=True)',
        _ROLES + '_forward = Kernel("phlox_batch_norm", _plain, _call, _shapes, _declines, several=True, roles=_roles)',
        (_KERNELS + "[check_fit_over_two_axes_and_what_is_predicted]",),
    ),
    (
        "spread kernels: Adam gathers weights that are cut",
        _PARTS,
        "            return self.weights_whole\n",
        "            return True\n",
        (_KERNELS + "[check_large_steps_of_adam_where_weights_are_whole]",),
    ),
    (
        "spread kernels: steps of a placement do not know of them",
        "parallel/_placement.py",
        'kernels = {} if self.count == 1 else {"kernels": self._parts(rows)}',
        "kernels: dict[str, Any] = {}",
        (_KERNELS + "[check_fit_over_two_axes_and_what_is_predicted]",),
    ),
    (
        "late sums: every array by itself",
        _LATE,
        "    small = [i for i, a in enumerate(parts) if a.size <= PACKED]\n",
        "    small: list[int] = []\n",
        (_MESSAGES + "[check_a_step_sends_its_gradients_at_once]",),
    ),
    (
        "late sums: large arrays are copied too",
        _LATE,
        "if a.size <= PACKED]",
        "if a.size <= 2 * PACKED]",
        (_MESSAGES + "[check_large_gradients_are_not_copied]",),
    ),
    (
        "late sums: added up as soon as they are shaped",
        _LATE,
        'frozenset({"transpose", "reshape", "squeeze", "broadcast_in_dim", "neg", "reduce_sum"})',
        'frozenset({"neg"})',
        (_MESSAGES + "[check_a_step_sends_its_gradients_at_once]",),
    ),
    (
        "late sums: what went on under another name is forgotten",
        _LATE,
        "                self.waiting.append(known.array)\n",
        "                pass\n",
        (_NUMBERS + "[check_a_module_that_does_more]",),
    ),
    (
        "late sums: a weight that is used twice has half its gradient",
        _LATE,
        "return Sum([*self.operands, *other.operands], added)",
        "return self",
        (_NUMBERS + "[check_a_module_that_does_more]",),
    ),
    (
        "late sums: weights in parts are gathered for it",
        "parallel/_placement.py",
        "if self.slow and parts.only and parts.weights_whole else fn",
        "if self.slow and parts.only else fn",
        (_MESSAGES + "[check_weights_in_parts_are_as_ever]",),
    ),
]
