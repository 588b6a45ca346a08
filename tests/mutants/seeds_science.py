"""Faults of equations: what a solver calls, times, keys, noise, paths through observations, energies, fixed points."""

_ODE = "tests/science/test_ode.py::"
_FIELDS = "tests/science/test_fields.py::"
_DRIVEN = "tests/science/test_driven.py::"
_MECHANICS = "tests/science/test_mechanics.py::"
_IMPLICIT = "tests/science/test_implicit.py::"
_HERE = "science/"

MUTANTS = [
    (
        "science: keys of a field do not move on after a solve",
        _HERE + "_inside.py",
        "write_arrays(owner, {name: _next_key(held[name]) for name in self.drawn})",
        "write_arrays(owner, {name: held[name] for name in self.drawn})",
        (_FIELDS + "test_keys_of_a_field_stay_for_a_solve_and_move_on_once_after_it",),
    ),
    (
        "science: State may be written in a field",
        _HERE + "_inside.py",
        "        if not is_key(value):\n            raise _written(name)\n",
        "        if not is_key(value):\n            continue\n",
        (_FIELDS + "test_a_fields_parts_train_where_the_layer_is_differentiated_and_state_may_not_be_written",),
    ),
    (
        "science: a field is solved without its weights",
        _HERE + "_inside.py",
        "outcome = self._call.pure(arrays, jax.tree.leaves(inputs))",
        "outcome = self._call.pure([0 * a for a in arrays], jax.tree.leaves(inputs))",
        (_FIELDS + "test_a_compiled_program_is_found_again_and_holds_no_weights",),
    ),
    (
        "science: each call of a field is a program of its own",
        _HERE + "_inside.py",
        "return isinstance(other, Inside) and self.key == other.key",
        "return self is other",
        (_FIELDS + "test_a_compiled_program_is_found_again_and_holds_no_weights",),
    ),
    (
        "science: the time of a field stands still",
        _HERE + "equations/_fields.py",
        "        return self.inside(args[0], t, y, args[1])\n\n\n@dataclass(frozen=True)\nclass Stops:",
        "        return self.inside(args[0], 0 * t, y, args[1])\n\n\n@dataclass(frozen=True)\nclass Stops:",
        (_ODE + "test_the_error_falls_with_the_step_as_the_order_of_the_solver_says",),
    ),
    (
        "science: states are saved at the first time in place of the last",
        _HERE + "equations/_equation.py",
        "return Span(ts[..., 0], ts[..., -1], ts)",
        "return Span(ts[..., 0], ts[..., -2], ts)",
        (_ODE + "test_the_error_falls_with_the_step_as_the_order_of_the_solver_says",),
    ),
    (
        "science: running out of steps is not told in compiled code",
        _HERE + "equations/_equation.py",
        "equinox().error_if(found.states, failed, raised_later(told))",
        "found.states",
        (_FIELDS + "test_running_out_of_steps_is_told_in_compiled_code_too",),
    ),
    (
        "science: a failure of compiled code is JAX's",
        "core/transforms/_program.py",
        "            if told is not None:\n                raise told from None\n",
        "",
        (_FIELDS + "test_running_out_of_steps_is_told_in_compiled_code_too",),
    ),
    (
        "science: a diffusion is half of what it is",
        _HERE + "equations/_sde.py",
        "return lineax().DiagonalLinearOperator(spread) if self.diagonal else spread",
        "return lineax().DiagonalLinearOperator(0.5 * spread) if self.diagonal else spread",
        (_DRIVEN + "test_one_step_of_euler_and_maruyama_is_that_of_the_formula_with_noise_of_each_examples_own",),
    ),
    (
        "science: every example has the same noise",
        _HERE + "equations/_sde.py",
        "keys = jax.random.split(advance(self), y0.shape[0])",
        "keys = jax.random.split(advance(self), 1).repeat(y0.shape[0])",
        (_DRIVEN + "test_one_step_of_euler_and_maruyama_is_that_of_the_formula_with_noise_of_each_examples_own",),
    ),
    (
        "science: a path goes on behind the last real observation",
        _HERE + "equations/_control.py",
        "last = jnp.minimum(jnp.arange(times), lengths[:, None] - 1)",
        "last = jnp.minimum(jnp.arange(times), lengths[:, None])",
        (_DRIVEN + "test_a_state_that_grows_with_a_channel_has_its_closed_form_at_every_observation",),
    ),
    (
        "science: the time is the last channel of a path",
        _HERE + "equations/_control.py",
        "values = jnp.concatenate([jnp.broadcast_to(at, (batch, times))[..., None], x], -1)",
        "values = jnp.concatenate([x, jnp.broadcast_to(at, (batch, times))[..., None]], -1)",
        (_DRIVEN + "test_a_state_that_grows_with_a_channel_has_its_closed_form_at_every_observation",),
    ),
    (
        "science: a latent series is read from its start",
        _HERE + "equations/_latent.py",
        "jnp.concatenate([gaps, x], -1)[:, ::-1]",
        "jnp.concatenate([gaps, x], -1)",
        (_DRIVEN + "test_a_latent_state_is_read_off_the_reversed_series_and_drawn_in_training_alone",),
    ),
    (
        "science: a latent loss forgets the variance",
        _HERE + "equations/_latent.py",
        "jnp.exp(log_variance) - 1 - log_variance",
        "jnp.exp(log_variance) - 1",
        (_DRIVEN + "test_a_latent_state_is_read_off_the_reversed_series_and_drawn_in_training_alone",),
    ),
    (
        "science: a Hamiltonian's force pushes the other way",
        _HERE + "mechanics/_hamiltonian.py",
        "return jnp.concatenate([velocity, -force], -1)",
        "return jnp.concatenate([velocity, force], -1)",
        (_MECHANICS + "test_a_network_of_energy_keeps_it_over_ten_periods",),
    ),
    (
        "science: a Lagrangian forgets that momenta change with positions",
        _HERE + "mechanics/_lagrangian.py",
        "force = slope(jnp.asarray(y))[:, :n] - along(jnp.concatenate([v, jnp.zeros_like(v)], -1))",
        "force = slope(jnp.asarray(y))[:, :n]",
        (_MECHANICS + "test_the_double_pendulum_of_its_lagrangian_is_that_of_its_closed_form",),
    ),
    (
        "science: a shear moves by a matrix that is not symmetric",
        _HERE + "mechanics/_symplectic.py",
        "change = (scale * self.act(still @ weight.T + bias)) @ weight *",
        "change = (scale * self.act(still @ weight.T + bias)) @ weight[:, ::-1] *",
        (_MECHANICS + "test_a_symplectic_net_keeps_areas_and_goes_back_exactly",),
    ),
    (
        "science: a symplectic net goes back in the order in which it came",
        _HERE + "mechanics/_symplectic.py",
        "for shear in reversed(self.shears):",
        "for shear in self.shears:",
        (_MECHANICS + "test_a_symplectic_net_keeps_areas_and_goes_back_exactly",),
    ),
    (
        "science: no gradient flows into the input of an equilibrium",
        _HERE + "implicit/_equilibrium.py",
        "args = same.arrays, arrays_among(x)",
        "args = same.arrays, jax.lax.stop_gradient(arrays_among(x))",
        (_IMPLICIT + "test_an_equilibrium_and_its_gradients_are_those_of_unrolling",),
    ),
    (
        "science: what was not found passes for found",
        _HERE + "implicit/_root.py",
        'return Root(found.value, jnp.asarray(found.stats["num_steps"]), jnp.asarray(reached) & finite)',
        'return Root(found.value, jnp.asarray(found.stats["num_steps"]), finite)',
        (_IMPLICIT + "test_what_is_not_found_is_told_with_the_way_to_the_layer",),
    ),
]
