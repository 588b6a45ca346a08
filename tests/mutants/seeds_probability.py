"""Faults of probability: densities, heads, layers that draw, bounds, posteriors, processes."""

_DIST = "tests/probability/test_distributions.py::"
_HEADS = "tests/probability/test_heads.py::"
_BAYES = "tests/probability/test_bayesian.py::"
_INFER = "tests/probability/test_inference.py::"
_LAPLACE = "tests/probability/test_laplace.py::"
_GP = "tests/probability/test_gaussian_process.py::"
_HERE = "probability/"

MUTANTS = [
    (
        "probability: a target broadcasts against a batch",
        _HERE + "distributions/_distribution.py",
        "    if value.shape[max(0, value.ndim - len(own)) :] == own:\n        return\n",
        "    return\n",
        (_DIST + "test_losses_weigh_and_never_broadcast",),
    ),
    (
        "probability: draws have the widest dtype in place of the distribution's",
        _HERE + "distributions/_distribution.py",
        "return draw.astype(self._dtype()) if jnp.issubdtype(draw.dtype, jnp.floating) else draw",
        "return draw",
        (_DIST + "test_draws_have_the_moments_of_their_distribution_and_a_gradient",),
    ),
    (
        "probability: middle levels lose what the two ends of them share",
        _HERE + "distributions/_discrete.py",
        " + jnp.log(-jnp.expm1(line[..., :-1] - line[..., 1:]))",
        "",
        (_DIST + "test_distributions_of_vectors_classes_and_levels_are_those_of_scipy",),
    ),
    (
        "probability: the variance of counts has rate and concentration swapped",
        _HERE + "distributions/_discrete.py",
        "NegativeBinomial2(wide(self.rate), wide(self.concentration))",
        "NegativeBinomial2(wide(self.concentration), wide(self.rate))",
        (_DIST + "test_densities_and_moments_are_those_of_scipy",),
    ),
    (
        "probability: a quantile of a mixture is searched for on the wrong side",
        _HERE + "distributions/_several.py",
        "return jnp.where(below, middle, low), jnp.where(below, high, middle)",
        "return jnp.where(below, low, middle), jnp.where(below, middle, high)",
        (_DIST + "test_a_mixture_is_the_sum_of_its_parts_and_its_quantiles_invert_it",),
    ),
    (
        "probability: the divergence of classes is turned round",
        _HERE + "distributions/_divergence.py",
        "share * (log_p - log_q)",
        "share * (log_q - log_p)",
        (_DIST + "test_divergences_are_those_of_pytorch",),
    ),
    (
        "probability: pinball takes the level of the other side",
        _HERE + "distributions/_likelihood.py",
        "jnp.maximum(levels * off, (levels - 1) * off)",
        "jnp.maximum((1 - levels) * off, -levels * off)",
        (_DIST + "test_losses_weigh_and_never_broadcast",),
    ),
    (
        "probability: the least scale of a head is left out",
        _HERE + "heads/_continuous.py",
        "return jax.nn.softplus(raw) + least",
        "return jax.nn.softplus(raw)",
        (_HEADS + "test_what_heads_give_is_that_of_their_weights",),
    ),
    (
        "probability: quantiles of a head may cross",
        _HERE + "heads/_quantile.py",
        "jnp.cumsum(jax.nn.softplus(y[..., 1:]), -1)",
        "jnp.cumsum(y[..., 1:], -1)",
        (_HEADS + "test_quantiles_cannot_cross",),
    ),
    (
        "probability: flipout turns no signs of the inputs, so equal examples go together",
        _HERE + "bayesian/_estimators.py",
        "    return jax.random.rademacher(key, shape, like.dtype)\n",
        "    return jnp.ones(shape, like.dtype)\n",
        (_BAYES + "test_what_is_drawn_has_the_exact_moments[flipout-0.0]",),
    ),
    (
        "probability: local draws with the standard deviation's square root left out",
        _HERE + "bayesian/_estimators.py",
        "linear(jnp.square(x), jnp.square(weights.scale))",
        "linear(jnp.square(x), weights.scale)",
        (_BAYES + "test_what_is_drawn_has_the_exact_moments[local-0.0]",),
    ),
    (
        "probability: the bias of a Bayesian layer does not draw",
        _HERE + "bayesian/_estimators.py",
        "return None if weights.bias_scale is None else weights.bias_scale * _normal(key, weights.bias_scale)",
        "return None",
        (_BAYES + "test_what_is_drawn_has_the_exact_moments[reparametrisation-1.0]",),
    ),
    (
        "probability: the bias has no divergence from its prior",
        _HERE + "bayesian/_layer.py",
        "        if self.layer.bias is not None and self.raw_bias_scale is not None:\n",
        "        if False:\n",
        (_BAYES + "test_the_divergence_from_the_prior_is_that_of_pytorch",),
    ),
    (
        "probability: all parts of a model train where one draws",
        _HERE + "inference/_drawing.py",
        "(trainmode if _draws(part) else testmode)(part)",
        "trainmode(part)",
        (_BAYES + "test_dropout_draws_at_prediction_and_statistics_stand_still",),
    ),
    (
        "probability: the last pattern of priors counts in place of the first",
        _HERE + "inference/_priors.py",
        "return next((pattern for pattern in given if _means(pattern, path, value)), None)",
        "return next((pattern for pattern in reversed(given) if _means(pattern, path, value)), None)",
        (_INFER + "test_a_programs_batch_stands_for_all_examples",),
    ),
    (
        "probability: a batch of svi counts as if it were all examples",
        _HERE + "inference/_program.py",
        "return tuple(a[rows] for a in data), self.examples / self.batch_size",
        "return tuple(a[rows] for a in data), 1.0",
        (_INFER + "test_a_programs_batch_stands_for_all_examples",),
    ),
    (
        "probability: a mixture of classifiers takes the mean of logarithms",
        _HERE + "inference/_ensemble.py",
        "return jax.nn.logsumexp(log_p, 0) - jnp.log(log_p.shape[0])",
        "return jnp.mean(log_p, 0)",
        (_INFER + "test_a_mixture_of_what_classifiers_say_has_their_mean_probabilities",),
    ),
    (
        "probability: deviations of swag are not from the mean",
        _HERE + "inference/_swag.py",
        "d.at[n % self.rank].set(weights[path] - self.mean[path])",
        "d.at[n % self.rank].set(weights[path])",
        (_INFER + "test_swag_is_the_moments_of_the_path_and_its_draws_have_them",),
    ),
    (
        "probability: factors are not divided by the number of examples",
        _HERE + "inference/_blocks.py",
        "eigen(of_out / examples)",
        "eigen(of_out)",
        (_LAPLACE + "test_factors_are_means_of_products_and_a_layers_block_is_theirs",),
    ),
    (
        "probability: Laplace's curvature forgets the noise of targets",
        _HERE + "inference/_laplace.py",
        "jnp.broadcast_to(eye / found.noise**2,",
        "jnp.broadcast_to(eye,",
        (_LAPLACE + "test_it_is_exact_for_linear_regression[full]",),
    ),
    (
        "probability: classes bend the log-likelihood as if each were alone",
        _HERE + "inference/_laplace.py",
        "return share[..., None] * eye - share[..., None] * share[..., None, :]",
        "return share[..., None] * eye",
        (_LAPLACE + "test_the_curvature_is_the_gauss_newton_matrix[categorical]",),
    ),
    (
        "probability: the evidence has no determinant",
        _HERE + "inference/_laplace.py",
        "return self.fit + prior - 0.5 * self.curvature.log_det(precision)",
        "return self.fit + prior",
        (_LAPLACE + "test_it_is_exact_for_linear_regression[kronecker]",),
    ),
    (
        "probability: a process forgets the part of the prior that its points leave",
        _HERE + "gaussian_process/_head.py",
        "jnp.maximum(left + seen, jnp.finfo(x.dtype).eps)",
        "jnp.maximum(seen, jnp.finfo(x.dtype).eps)",
        (_GP + "test_it_predicts_as_the_exact_process_and_its_bound_is_the_evidence[rbf]",),
    ),
    (
        "probability: a process's bound does not pay for its spread",
        _HERE + "gaussian_process/_expected.py",
        "known - jnp.square(spread / noise) / 2",
        "known",
        (_GP + "test_it_predicts_as_the_exact_process_and_its_bound_is_the_evidence[rbf]",),
    ),
]
