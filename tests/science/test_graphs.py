"""Graphs: layers against sums worked by hand for each graph alone, in batches that are filled up, turned and mixed."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px

sci = px.science
NODES, EDGES = 10, 18  # of all padded batches here, so that one compiled program serves them


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


def made(n, edges, seed):
    """A graph with positive numbers for edges, the first of which is a weight."""
    rng = np.random.default_rng(seed)
    senders, receivers = np.array(edges).T
    return sci.Graph(
        rng.normal(size=(n, 3)), senders, receivers, edges=rng.uniform(0.5, 2, (len(edges), 2)),
        positions=rng.normal(size=(n, 3)),
    )  # fmt: skip


def graphs():
    """The second node of the first hears itself, the last of the second hears nobody and is heard by nobody."""
    one = made(4, [(0, 1), (1, 0), (1, 1), (2, 1), (3, 1), (0, 3), (0, 3)], 0)
    return one, made(4, [(0, 1), (1, 2), (2, 0), (2, 1), (0, 2)], 1)


def batched(*some):
    return sci.pad_graph(sci.batch_graphs(some), nodes=NODES, edges=EDGES, graphs=3)


def weights(graph):
    return graph.replace(edges=graph.edges[:, :1])


class Heard(sci.MessagePassing):
    """Messages of all that a message may be of."""

    def message(self, receiver, sender, edge):
        return sender * edge[:, :1] - receiver

    def update(self, x, received):
        return x + received


def layers():
    keys = jax.random.split(jax.random.key(0), 12)
    options = {"heads": 2, "edge_size": 2}
    found = {
        "gcn": sci.GCNConv(3, 4, px.tanh, key=keys[0]),
        "gcn_bare": sci.GCNConv(3, 2, self_loops=False, bias=False, key=keys[1]),
        "gcn_weighted": sci.GCNConv(3, 2, weighted=True, key=keys[2]),
        "sage_mean": sci.SAGEConv(3, 4, key=keys[3]),
        "sage_max": sci.SAGEConv(3, 4, px.tanh, aggregate="max", project=True, normalize=True, key=keys[4]),
        "gat": sci.GATConv(3, 4, px.tanh, key=keys[5], **options),
        "gat_mean": sci.GATConv(3, 4, heads=2, concat=False, self_loops=False, key=keys[6]),
        "gatv2": sci.GATv2Conv(3, 4, key=keys[7], **options),
        "egnn": sci.EGNN(3, 2, 4, depth=2, edge_size=2, attention=True, key=keys[8]),
        "heard": Heard("min"),
        "pool": sci.GraphChain(px.Dense(3, 2, key=keys[9]), sci.GraphPool("max")),
    }
    found = px.f64(found)
    for n, (name, value) in enumerate(px.paths(found).items()):  # no bias that is 0, no motion that is calm
        if jnp.issubdtype(value.dtype, jnp.floating):
            px.set_at(found, name, jnp.array(np.random.default_rng(n).normal(size=value.shape) / 2))
    return found


@px.jit
def called(layers, graph):
    weighted = graph.replace(edges=graph.edges[:, :1])
    return {name: layer(weighted if name == "gcn_weighted" else graph) for name, layer in layers.items()}


# --- by hand -----------------------------------------------------------------------------------------


def numbers(layer):
    return {name: np.asarray(v) for name, v in px.paths(layer).items()}


def edges_of(graph):
    return list(zip(graph.senders.tolist(), graph.receivers.tolist(), graph.edges, strict=True))


def gcn_by_hand(layer, graph):
    """By the matrices of the paper."""
    a = np.zeros((graph.num_nodes,) * 2)
    for s, r, e in edges_of(graph):
        a[r, s] += e[0] if layer.weighted else 1
    if layer.self_loops:
        a += np.diag(np.diag(a) == 0)
    d = a.sum(1)
    scale = np.diag(np.where(d > 0, 1 / np.sqrt(np.where(d > 0, d, 1)), 0))
    y = scale @ a @ scale @ graph.nodes @ np.asarray(layer.weight)
    return np.asarray(layer.act(jnp.array(y if layer.bias is None else y + np.asarray(layer.bias))))


def sage_by_hand(layer, graph):
    p, x, reduce = numbers(layer), graph.nodes, getattr(np, layer.aggregate)
    sent = np.maximum(x @ p["projection.weight"] + p["projection.bias"], 0) if layer.projection else x
    y = x @ p["own.weight"] + p["own.bias"]
    for i in range(len(x)):
        heard = [sent[s] for s, r, _ in edges_of(graph) if r == i]
        y[i] += (reduce(heard, 0) if heard else np.zeros(3)) @ p["neighbours.weight"]
    if layer.normalize:
        y = y / np.linalg.norm(y, axis=1, keepdims=True)
    return np.asarray(layer.act(jnp.array(y)))


def attention_by_hand(layer, graph):
    p, x, heads = numbers(layer), graph.nodes, layer.heads
    n, leaky = len(x), lambda v: np.where(v > 0, v, 0.2 * v)
    second = isinstance(layer, sci.GATv2Conv)
    if second:
        sent, asked = x @ p["source.weight"] + p["source.bias"], x @ p["target.weight"] + p["target.bias"]
    else:
        sent = asked = x @ p["features.weight"]
    sent, asked = sent.reshape(n, heads, -1), asked.reshape(n, heads, -1)
    rows = []
    for i in range(n):
        heard = [(s, e) for s, r, e in edges_of(graph) if r == i and (s != i or not layer.self_loops)]
        if layer.self_loops:
            heard.append((i, np.mean([e for _, e in heard], 0) if heard else np.zeros(2)))
        scores = []
        for s, e in heard:
            along = (e @ p["edge.weight"]).reshape(heads, -1) if layer.edge_size else 0
            if second:
                scores.append((p["attention"] * leaky(sent[s] + asked[i] + along)).sum(-1))
            else:
                own = (p["edge_attention"] * along).sum(-1) if layer.edge_size else 0
                scores.append(leaky((p["source"] * sent[s] + p["target"] * asked[i]).sum(-1) + own))
        if not heard:
            rows.append(np.zeros_like(sent[0]))
            continue
        powers = np.exp(scores)
        shares = powers / powers.sum(0)
        rows.append(sum(share[:, None] * sent[s] for share, (s, _) in zip(shares, heard, strict=True)))
    y = np.stack(rows)
    y = (y.reshape(n, -1) if layer.concat else y.mean(1)) + p["bias"]
    return np.asarray(layer.act(jnp.array(y)))


def egnn_by_hand(net, graph):
    silu, two = lambda v: v / (1 + np.exp(-v)), lambda p, at, v: v @ p[f"{at}.weight"] + p.get(f"{at}.bias", 0)
    p = numbers(net)
    h, x = two(p, "embedding", graph.nodes), graph.positions
    for k in range(2):
        at = f"layers.{k}."
        received, moves, count = np.zeros_like(h), np.zeros_like(x), np.zeros(len(h))
        for s, r, e in edges_of(graph):
            m = np.concatenate([h[r], h[s], [((x[r] - x[s]) ** 2).sum()], e])
            m = silu(two(p, at + "messages.layers.1", silu(two(p, at + "messages.layers.0", m))))
            moves[r] += (x[r] - x[s]) * two(p, at + "motion.layers.1", silu(two(p, at + "motion.layers.0", m)))
            received[r] += m / (1 + np.exp(-two(p, at + "inference", m)))
            count[r] += 1
        new = np.concatenate([h, received], 1)
        h = h + two(p, at + "features.layers.1", silu(two(p, at + "features.layers.0", new)))
        x = x + moves / np.maximum(count, 1)[:, None]
    return two(p, "readout", h), x


def heard_by_hand(layer, graph):
    x = graph.nodes
    rows = [[x[s] * e[0] - x[i] for s, r, e in edges_of(graph) if r == i] for i in range(len(x))]
    return x + np.stack([np.min(row, 0) if row else np.zeros(3) for row in rows])


def pool_by_hand(layer, graph):
    return (graph.nodes @ np.asarray(layer[0].weight) + np.asarray(layer[0].bias)).max(0, keepdims=True)


BY_HAND = {
    "gcn": gcn_by_hand,
    "sage": sage_by_hand,
    "gat": attention_by_hand,
    "gatv2": attention_by_hand,
    "egnn": egnn_by_hand,
    "heard": heard_by_hand,
    "pool": pool_by_hand,
}


def test_every_layer_is_its_sums_by_hand_for_each_graph_of_a_padded_batch():
    some, all_of = graphs(), layers()
    found = called(all_of, jax.tree.map(jnp.asarray, batched(*some)))
    for name, layer in all_of.items():
        expected = [BY_HAND[name.partition("_")[0]](layer, graph) for graph in some]
        if name == "egnn":
            expected = [np.concatenate(parts) for parts in zip(*expected, strict=True)]
            for ours, theirs in zip(found[name], expected, strict=True):
                np.testing.assert_allclose(ours[:8], theirs, rtol=1e-10, atol=1e-12, err_msg=name)
            continue
        expected = np.concatenate(expected)
        np.testing.assert_allclose(found[name][: len(expected)], expected, rtol=1e-10, atol=1e-12, err_msg=name)
    np.testing.assert_array_equal(found["pool"][2], [0, 0])
    assert all(bool(jnp.isfinite(v).all()) for v in jax.tree.leaves(found))


def test_nodes_and_edges_have_no_order_and_space_has_no_directions():
    rng, graph, all_of = np.random.default_rng(0), batched(*graphs()), layers()
    found = called(all_of, jax.tree.map(jnp.asarray, graph))
    old, other = rng.permutation(NODES), rng.permutation(EDGES)
    new = np.argsort(old)  # where each node went
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    move = np.array([1.0, -2.0, 3.0])
    mixed = sci.Graph(
        graph.nodes[old], new[graph.senders[other]], new[graph.receivers[other]], edges=graph.edges[other],
        positions=graph.positions[old] @ turn + move, batch=graph.batch[old], num_graphs=3,
    )  # fmt: skip
    again = called(all_of, jax.tree.map(jnp.asarray, mixed))
    y, x = found.pop("egnn")
    ours, places = again.pop("egnn")
    np.testing.assert_allclose(ours, y[old], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(places, x[old] @ turn + move, rtol=1e-9, atol=1e-11)
    assert float(jnp.abs(x - graph.positions)[:3].max()) > 1e-2
    np.testing.assert_allclose(again.pop("pool"), found.pop("pool"), rtol=1e-12)
    for name, y in found.items():
        np.testing.assert_allclose(again[name], y[old], rtol=1e-10, atol=1e-12, err_msg=name)


def test_numbers_stay_of_64_bits_all_through():
    def total(layers, graph):
        return sum(v.sum() for v in jax.tree.leaves(called(layers, graph)))

    graph = jax.tree.map(jnp.asarray, batched(*graphs()))
    program = str(jax.make_jaxpr(lambda layers, graph: px.grad(total)(layers, graph))(layers(), graph))
    assert set(re.findall(r":((?:f|c|bf)\d+)\[", program)) == {"f64"}


def test_attention_drops_in_training_alone_and_16_bits_stay():
    drops, never = sci.GATConv(3, 4, dropout=0.5, key=0), sci.GATConv(3, 4, key=0)
    trains = px.trainmode(px.copy(drops))
    graph = jax.tree.map(lambda v: jnp.asarray(v, "float32" if v.dtype == "float64" else None), graphs()[0])
    call = px.jit(lambda layers, graph: [layer(graph) for layer in layers])
    once, again, inferred, plain = call([trains, trains, drops, never], graph)
    np.testing.assert_array_equal(inferred, plain)
    assert bool((once != again).any())
    assert bool((once != plain).any())
    low = px.bf16(px.Chain(sci.GCNConv(3, 4), sci.EGNN(4, 2, 4, depth=1)))
    small = jax.tree.map(lambda v: v.astype("bfloat16") if v.dtype == "float32" else v, graph)
    shapes = px.eval_shape(lambda low, graph: low[1](graph, low[0](graph)), low, small)
    assert {v.dtype for v in shapes} == {jnp.dtype("bfloat16")}


@pytest.mark.soak
def test_whole_graphs_are_told_apart_by_fit_from_a_loader_that_batches_them():
    """Rings of six beside two rings of three: all nodes have two neighbours, so a walk of three steps is to be felt."""
    with jax.enable_x64(False):
        rng = np.random.default_rng(0)
        ring = np.arange(6)
        after = np.array([1, 2, 0, 4, 5, 3])
        kinds = rng.integers(0, 2, 64).astype(np.int32)
        some = []
        for kind in kinds:
            nodes = rng.permutation(np.eye(6, dtype=np.float32))
            graph = sci.Graph(nodes, ring, after if kind else np.roll(ring, -1), edges=np.ones((6, 1), np.float32))
            some.append(sci.to_undirected(graph))

        def collate(items):
            graph = sci.batch_graphs([graph for graph, _ in items])
            return sci.pad_graph(graph, nodes=16 * 6 + 1, edges=200), np.array([kind for _, kind in items])

        with px.seed(0):
            model = sci.GraphChain(
                sci.GCNConv(6, 16, px.relu), sci.GCNConv(16, 16, px.relu), sci.GraphPool("sum"), px.Dense(16, 2)
            )
        loader = px.DataLoader(list(zip(some, kinds, strict=True)), 16, collate=collate)
        history = px.fit(
            model, loader, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(2e-2), epochs=25, progress=False
        )
        assert history["loss"][-1] < 0.2 * history["loss"][0]


def test_layers_are_printed_and_kept_as_they_were_made(tmp_path):
    model = sci.GraphChain(px.relu, *layers().values())
    px.save(model, tmp_path / "model.safetensors")
    again = px.load(tmp_path / "model.safetensors")
    text = repr(again)
    for line in ("GCNConv(3, 4, tanh)", "    in_size=3, out_size=4, act=tanh, heads=2, edge_size=2,\n", "Heard('min')"):
        assert line in text
    assert list(px.paths(again)) == list(px.paths(model))
    assert [layer.aggregate for layer in again if isinstance(layer, sci.SAGEConv)] == ["max", "mean"]


# --- graphs as values --------------------------------------------------------------------------------


def same(a, b):
    for name in ("nodes", "senders", "receivers", "edges", "positions"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_batches_come_apart_again_also_batches_of_padded_ones():
    some = graphs()
    padded = sci.pad_graph(sci.batch_graphs(some), nodes=9, edges=20)
    both = sci.batch_graphs([padded, some[0]])
    assert (both.num_graphs, both.num_nodes, isinstance(both.nodes, np.ndarray)) == (3, 13, True)
    for found, graph in zip(sci.unbatch_graphs(both), (*some, some[0]), strict=True):
        same(found, graph)
    more = sci.pad_graph(both, nodes=15, edges=40, graphs=5)
    assert more.graph_mask().tolist() == [True] * 3 + [False] * 2
    assert more.node_mask().tolist() == [True] * 8 + [False] + [True] * 4 + [False] * 2
    assert int(more.edge_mask().sum()) == 19
    assert more.in_degrees()[:4].tolist() == some[0].in_degrees().tolist() == [1, 4, 0, 2]
    assert some[0].out_degrees().tolist() == [3, 2, 1, 1]


def test_a_graph_is_a_tree_of_its_arrays_that_does_not_change():
    graph = graphs()[0]
    doubled = px.jit(lambda graph: graph.replace(nodes=2 * graph.nodes))(graph)
    np.testing.assert_array_equal(doubled.nodes, 2 * graph.nodes)
    loops = sci.add_self_loops(graph, edges=7.0)
    assert loops.senders.tolist() == loops.senders.tolist()[:7] + [0, 1, 2, 3] == [*graph.senders.tolist(), 0, 1, 2, 3]
    assert loops.edges[7:].tolist() == [[7.0, 7.0]] * 4
    both = sci.to_undirected(graph)
    assert both.senders.tolist() == graph.senders.tolist() + graph.receivers.tolist()
    np.testing.assert_array_equal(both.edges, np.concatenate([graph.edges] * 2))
    with pytest.raises(px.StructureError, match=r"Graph expects to stay as it is, got a new nodes\n  fix: make anot"):
        graph.nodes = 2


X = np.ones((3, 2), np.float32)


def pair(**options):
    return sci.Graph(X, [0, 1], [1, 2], **options)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda: sci.Graph(1.0, [0], [1]), px.ShapeError, r"nodes as \(nodes, features\), got"),
        (lambda: sci.Graph(X, [[0, 1], [1, 2]], None), px.ShapeError, "fix: give .* senders, receivers = edge_index"),
        (lambda: sci.Graph(X, [0, 1], [1]), px.ShapeError, r"receivers as \(2, ...\), got int"),
        (lambda: sci.Graph(X, [0], [3]), px.RangeError, r"Graph expects receivers in 0 … 2, got 3"),
        (lambda: sci.Graph(X, [-1], [0]), px.RangeError, r"senders in 0 … 2, got -1"),
        (lambda: sci.Graph(X, [0.0], [1.0]), px.DtypeError, r"senders of whole numbers, got float"),
        (lambda: pair(edges=X), px.ShapeError, r"edges as \(2, ...\), got float32\[3, 2\]"),
        (lambda: pair(positions=X[:2]), px.ShapeError, r"positions as \(3, ...\)"),
        (lambda: pair(batch=[0, 1]), px.ShapeError, r"batch as \(3, ...\)"),
        (lambda: pair(batch=[0, -1, 0]), px.RangeError, "a batch index of at least 0, got -1"),
        (lambda: pair(batch=X[:, 0]), px.DtypeError, "batch of whole numbers"),
        (lambda: px.jit(lambda b: pair(batch=b).nodes)(jnp.arange(3)), px.RangeError, "num_graphs where batch cannot"),
        (lambda: sci.batch_graphs([]), px.RangeError, "at least one graph, got none"),
        (
            lambda: sci.batch_graphs([pair(), pair(edges=X[:2])]),
            px.ShapeError,
            r"graphs with edges of one form, got None and float32\[2, 2\]",
        ),
        (lambda: sci.pad_graph(pair(), nodes=2, edges=2), px.RangeError, "nodes of at least 3, got 2"),
        (lambda: sci.pad_graph(pair(), nodes=3, edges=3), px.RangeError, "a padding node.*fix: give nodes=4"),
        (lambda: sci.GCNConv(2, 0), px.RangeError, "GCNConv expects out_size to be a whole number of at least 1"),
        (lambda: sci.GCNConv(4, 2)(pair()), px.ShapeError, r"GCNConv\(4 → 2\) expects \(3, 4\) for a graph of so many"),
        (
            lambda: sci.GCNConv(2, 2)(X),
            px.ShapeError,
            r"a graph first, got float32\[3, 2\]\n  fix: call it as layer\(gr",
        ),
        (lambda: sci.GCNConv(2, 2, weighted=True)(pair()), px.ShapeError, r"edges are weights \(2,\), got None"),
        (lambda: sci.GATConv(2, 2, edge_size=3)(pair()), px.ShapeError, r"a graph whose edges are \(2, 3\), got None"),
        (lambda: sci.GATConv(2, 2, dropout=2), px.RangeError, r"p in \[0, 1\]"),
        (lambda: sci.SAGEConv(2, 2, aggregate="add"), px.RangeError, "got 'add'\n  fix: write aggregate='sum'"),
        (lambda: sci.GraphPool("first"), px.RangeError, "GraphPool expects aggregate as 'sum', 'mean', 'max' or 'min'"),
        (lambda: sci.EGCL(2, 2)(pair()), px.ShapeError, r"expects positions \(3, dims\), got None\n  fix: give the gr"),
        (lambda: sci.GraphChain(px.Dense), px.RangeError, r"layers that can be called, as layer\(graph, x\) or layer"),
    ],
)
def test_a_mistake_is_told_with_its_cure(wrong, error, text):
    with jax.enable_x64(False), pytest.raises(error) as told:
        wrong()
    assert re.search(text, str(told.value), re.DOTALL), str(told.value)
    assert told.value.fix


def test_messages_that_are_not_one_for_each_edge_are_refused():
    class Wrong(sci.MessagePassing):
        def message(self, receiver, sender, edge):
            return sender.sum(0)

    with pytest.raises(px.ShapeError, match=r"Wrong.* expects messages \(2, ...\), got float32\[5\]"):
        Wrong()(sci.Graph(np.ones((3, 5), np.float32), [0, 1], [1, 2]))
