"""Faults of distillation: temperature, shares of the terms, maps of attention, weights, the teacher."""

_TESTS = "tests/compress/test_distillation.py::"
_HERE = "compress/distillation/"
_TORCH = "test_the_loss_and_its_gradients_are_those_of_torch"
_SPACE = "test_attention_in_space_is_that_of_the_paper_s_code"
_HEADS = "test_attention_of_transformers_is_compared_by_head_or_in_the_mean_over_heads"
_WEIGHTS = "test_weights_of_examples_padding_and_places_to_ignore"
_TEACHER = "test_the_teacher_infers_stands_still_and_stays_the_users_own"

MUTANTS = [
    (
        "distil: the divergence is not scaled by the temperature's square",
        _HERE + "_terms.py",
        "return temperature**2 * kl",
        "return kl",
        (_TESTS + _TORCH,),
    ),
    (
        "distil: the teacher's scores keep their temperature",
        _HERE + "_terms.py",
        "teacher.astype(wide) / temperature",
        "teacher.astype(wide)",
        (_TESTS + _TORCH,),
    ),
    (
        "distil: the divergence goes the other way",
        _HERE + "_distillation.py",
        "return softened(ours, theirs, self.temperature, weight)",
        "return softened(theirs, ours, self.temperature, weight)",
        (_TESTS + _TORCH,),
    ),
    (
        "distil: alpha is the share of the truth",
        _HERE + "_distillation.py",
        'found["truth"] = 1 - self.alpha, weighed',
        'found["truth"] = self.alpha, weighed',
        (_TESTS + _TORCH,),
    ),
    (
        "distil: the map between features has no bias",
        _HERE + "_pairs.py",
        "found[path] = Dense(ours.shape[-1], theirs.shape[-1])",
        "found[path] = Dense(ours.shape[-1], theirs.shape[-1], bias=False)",
        (_TESTS + _TORCH,),
    ),
    (
        "distil: activity in space is the sum of activations",
        _HERE + "_terms.py",
        "sums = jnp.sum(x**2, -1)",
        "sums = jnp.sum(x, -1)",
        (_TESTS + _SPACE,),
    ),
    (
        "distil: a map of activity keeps its length",
        _HERE + "_terms.py",
        "return sums / length",
        "return sums",
        (_TESTS + _SPACE,),
    ),
    (
        "distil: a dark layer has no gradient that is a number",
        _HERE + "_terms.py",
        " + jnp.finfo(sums.dtype).tiny)",
        ")",
        (_TESTS + _SPACE,),
    ),
    (
        "distil: of several heads the first is compared",
        _HERE + "_terms.py",
        "student, teacher = student.mean(1), teacher.mean(1)",
        "student, teacher = student[:, 0], teacher[:, 0]",
        (_TESTS + _HEADS,),
    ),
    (
        "distil: places to be ignored count",
        _HERE + "_distillation.py",
        "counts = jnp.asarray(target) >= 0",
        "counts = jnp.asarray(target) >= -1000",
        (_TESTS + _WEIGHTS,),
    ),
    (
        "distil: the user's weights stand in for the padding's",
        _HERE + "_distillation.py",
        "return own if weight is None else jnp.where(",
        "return own if True else jnp.where(",
        (_TESTS + _WEIGHTS,),
    ),
    (
        "distil: padding counts in attention and features",
        _HERE + "_distillation.py",
        "each = [weighed(self.feature_loss, y, features_of(z), weight, _WHERE) for y, z in pairs]",
        "each = [weighed(self.feature_loss, y, features_of(z), None, _WHERE) for y, z in pairs]",
        (_TESTS + _WEIGHTS,),
    ),
    (
        "distil: the teacher trains in a training",
        _HERE + "_distilling.py",
        "testmode(freeze(copy(teacher)))",
        "freeze(copy(teacher))",
        (_TESTS + _TEACHER,),
    ),
    (
        "distil: the teacher that was given is frozen",
        _HERE + "_distilling.py",
        "testmode(freeze(copy(teacher)))",
        "testmode(freeze(teacher))",
        (_TESTS + _TEACHER,),
    ),
    (
        "distil: the teacher learns",
        _HERE + "_distilling.py",
        "testmode(freeze(copy(teacher)))",
        "testmode(copy(teacher))",
        (_TESTS + _TEACHER,),
    ),
    (
        "distil: a model that asks for weights of attention gets none while it is heard",
        "compress/_asking.py",
        "        return tuple(y)\n",
        "        return y.result\n",
        (_TESTS + _HEADS,),
    ),
]
