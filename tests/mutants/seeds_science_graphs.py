"""Faults of operators and graphs: waves, grids, loops, degrees, attention, padding, motion."""

_OPERATORS = "tests/science/test_operators.py::"
_GRAPHS = "tests/science/test_graphs.py::"
_WAVES = _OPERATORS + "test_a_spectral_convolution_is_the_sum_of_its_waves"
_BY_HAND = _GRAPHS + "test_every_layer_is_its_sums_by_hand_for_each_graph_of_a_padded_batch"
_TURNED = _GRAPHS + "test_nodes_and_edges_have_no_order_and_space_has_no_directions"
_APART = _GRAPHS + "test_batches_come_apart_again_also_batches_of_padded_ones"
_SPECTRAL = "science/operators/_spectral.py"
_FOURIER = "science/operators/_fourier.py"
_CONVOLUTIONS = "science/graphs/_convolutions.py"
_ATTENTION = "science/graphs/_attention.py"
_EQUIVARIANT = "science/graphs/_equivariant.py"
_GATHERING = "science/graphs/_gathering.py"

MUTANTS = [
    (
        "operators: complex products lose a sign",
        _SPECTRAL,
        "lax.complex(times(a, w[0]) - times(b, w[1])",
        "lax.complex(times(a, w[0]) + times(b, w[1])",
        (_WAVES,),
    ),
    (
        "operators: the highest wave of an even grid is kept",
        _SPECTRAL,
        "min(m, (n + 1) // 2)",
        "min(m, n // 2 + 1)",
        (_WAVES,),
    ),
    (
        "operators: negative frequencies are put before the zeros",
        _SPECTRAL,
        "jnp.concatenate([low, between, high], axis)",
        "jnp.concatenate([low, high, between], axis)",
        (_WAVES,),
    ),
    (
        "operators: the last Fourier layer has an activation",
        _FOURIER,
        "acts = [act] * (depth - 1) + [None]",
        "acts = [act] * depth",
        (_OPERATORS + "test_an_operator_is_its_formula_with_grid_and_padding",),
    ),
    (
        "operators: padding is put in front",
        _FOURIER,
        "(0, _behind(share, n, self.grid), 0)",
        "(_behind(share, n, self.grid), 0, 0)",
        (_OPERATORS + "test_an_operator_is_its_formula_with_grid_and_padding",),
    ),
    (
        "operators: outputs of a DeepONet are mixed",
        "science/operators/_deeponet.py",
        "t.reshape(*t.shape[:-1], *shape)",
        "t.reshape(*t.shape[:-1], *shape)[..., ::-1, :]",
        (_OPERATORS + "test_a_deep_operator_network_is_its_formula_for_shared_and_for_own_points",),
    ),
    (
        "graphs: a node that hears itself gets a second loop",
        _CONVOLUTIONS,
        "jnp.where(has_loop, 0, 1)",
        "jnp.where(has_loop, 1, 1)",
        (_BY_HAND,),
    ),
    (
        "graphs: degrees are those of senders",
        _CONVOLUTIONS,
        "F.segment_sum(shares, receivers, nodes) + own",
        "F.segment_sum(shares, senders, nodes) + own",
        (_BY_HAND,),
    ),
    (
        "graphs: a node without neighbours gets minus infinity",
        "science/graphs/_message.py",
        "y, jnp.zeros((), y.dtype))",
        "y, y)",
        (_BY_HAND,),
    ),
    (
        "graphs: attention is over what a node sends",
        _ATTENTION,
        "F.segment_softmax(jnp.where(counts[:, None], scores, -jnp.inf), receivers, nodes)",
        "F.segment_softmax(jnp.where(counts[:, None], scores, -jnp.inf), senders, nodes)",
        (_BY_HAND,),
    ),
    (
        "graphs: older loops are heard beside new ones",
        _ATTENTION,
        "jnp.concatenate([no_loop, jnp.ones(nodes.shape, bool)])",
        "jnp.ones(len(senders) + len(nodes), bool)",
        (_BY_HAND,),
    ),
    (
        "graphs: the second attention ranks before its rectifier",
        _ATTENTION,
        "(attention * F.leaky_relu(sums, self.negative_slope)).sum(-1)",
        "F.leaky_relu((attention * sums).sum(-1), self.negative_slope)",
        (_BY_HAND,),
    ),
    (
        "graphs: positions move by where they are",
        _EQUIVARIANT,
        "F.segment_mean(apart * self.motion(m), receivers, nodes)",
        "F.segment_mean(F.gather(x, graph.senders) * self.motion(m), receivers, nodes)",
        (_TURNED,),
    ),
    (
        "graphs: distances depend on directions",
        _EQUIVARIANT,
        "jnp.square(apart).sum(-1, keepdims=True)",
        "jnp.abs(apart).sum(-1, keepdims=True)",
        (_TURNED,),
    ),
    (
        "graphs: edges of a batch all go to its first graph",
        _GATHERING,
        "return names + np.asarray(by, names.dtype)",
        "return names + np.asarray(0 * by, names.dtype)",
        (_APART, _BY_HAND),
    ),
    (
        "graphs: padding of a batch falls into the next graph",
        _GATHERING,
        "arrays.where(segments < graph.num_graphs, segments + first, beyond)",
        "arrays.where(segments <= graph.num_graphs, segments + first, beyond)",
        (_APART,),
    ),
    (
        "graphs: padding edges join the first node",
        _GATHERING,
        "_filled(graph.receivers, edges, nodes - 1)",
        "_filled(graph.receivers, edges, 0)",
        (_APART, _BY_HAND),
    ),
]
