"""Every layer on graphs that PyTorch Geometric has too, with its weights, in float64: values and all slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch_geometric import nn as geometric

import phlox as px

sci = px.science
RNG = np.random.default_rng(0)
EDGES = np.array([(0, 1), (1, 0), (1, 1), (2, 1), (3, 1), (0, 3), (0, 3), (5, 2)]).T  # one loop; node 4 stands alone
NODES, ALONG, WEIGHTS = RNG.normal(size=(6, 3)), RNG.normal(size=(8, 2)), RNG.uniform(0.5, 2, (8, 1))


def back(tensor):
    return tensor.detach().numpy()


def gcn(weighted, loops):
    theirs = geometric.GCNConv(3, 4, add_self_loops=loops)
    ours = sci.GCNConv(3, 4, weighted=weighted, self_loops=loops)
    pairs = {"weight": (theirs.lin.weight, "T"), "bias": (theirs.bias, "")}
    return ours, theirs, pairs, ((WEIGHTS, {"edge_weight": WEIGHTS[:, 0]}) if weighted else (None, {}))


def sage(aggregate, project, normalize):
    theirs = geometric.SAGEConv(3, 4, aggr=aggregate, project=project, normalize=normalize)
    ours = sci.SAGEConv(3, 4, aggregate=aggregate, project=project, normalize=normalize)
    pairs = {
        "own.weight": (theirs.lin_r.weight, "T"),
        "own.bias": (theirs.lin_l.bias, ""),
        "neighbours.weight": (theirs.lin_l.weight, "T"),
    }
    if project:
        pairs |= {"projection.weight": (theirs.lin.weight, "T"), "projection.bias": (theirs.lin.bias, "")}
    return ours, theirs, pairs, (None, {})


def gat(concat, loops, edges):
    more = {"heads": 2, "concat": concat}
    theirs = geometric.GATConv(3, 4, add_self_loops=loops, edge_dim=2 if edges else None, **more)
    ours = sci.GATConv(3, 4, self_loops=loops, edge_size=2 if edges else None, **more)
    pairs = {
        "features.weight": (theirs.lin.weight, "T"),
        "source": (theirs.att_src, "0"),
        "target": (theirs.att_dst, "0"),
        "bias": (theirs.bias, ""),
    }
    if edges:
        pairs |= {"edge.weight": (theirs.lin_edge.weight, "T"), "edge_attention": (theirs.att_edge, "0")}
    return ours, theirs, pairs, ((ALONG, {"edge_attr": ALONG}) if edges else (None, {}))


def gatv2(concat, loops, edges):
    more = {"heads": 2, "concat": concat}
    theirs = geometric.GATv2Conv(3, 4, add_self_loops=loops, edge_dim=2 if edges else None, **more)
    ours = sci.GATv2Conv(3, 4, self_loops=loops, edge_size=2 if edges else None, **more)
    pairs = {
        "source.weight": (theirs.lin_l.weight, "T"),
        "source.bias": (theirs.lin_l.bias, ""),
        "target.weight": (theirs.lin_r.weight, "T"),
        "target.bias": (theirs.lin_r.bias, ""),
        "attention": (theirs.att, "0"),
        "bias": (theirs.bias, ""),
    }
    if edges:
        pairs["edge.weight"] = (theirs.lin_edge.weight, "T")
    return ours, theirs, pairs, ((ALONG, {"edge_attr": ALONG}) if edges else (None, {}))


CASES = [
    *[(gcn, (weighted, loops)) for weighted in (False, True) for loops in (False, True)],
    *[(sage, how) for how in (("mean", False, False), ("max", True, False), ("sum", False, True), ("min", True, True))],
    *[(kind, (c, loops, e)) for kind in (gat, gatv2) for c, loops, e in ((True, True, False), (False, False, True))],
    *[(kind, (True, True, True)) for kind in (gat, gatv2)],
]


@pytest.mark.parametrize(("make", "options"), CASES, ids=lambda v: getattr(v, "__name__", None) or str(v))
def test_values_and_slopes_are_theirs(make, options):
    ours, theirs, pairs, (edges, more) = make(*options)
    form = {"T": lambda v: v.T, "0": lambda v: v[0], "": lambda v: v}
    assert set(pairs) == set(px.split(ours)[0])
    for name, (value, how) in pairs.items():
        torch.nn.init.normal_(value)
        px.set_at(ours, name, jnp.array(form[how](back(value))))
    x = torch.tensor(NODES, requires_grad=True)
    y = theirs(x, torch.tensor(EDGES), **{k: torch.tensor(v) for k, v in more.items()})
    weight = np.random.default_rng(1).normal(size=y.shape)
    (y * torch.tensor(weight)).sum().backward()
    graph = jax.tree.map(jnp.asarray, sci.Graph(NODES, *EDGES, edges=edges))

    def total(layer, nodes):
        y = layer(graph, nodes)
        return (y * weight).sum(), y

    (slopes, by_nodes), found = px.jit(px.grad(total, (0, 1), has_aux=True))(ours, graph.nodes)
    np.testing.assert_allclose(found, back(y), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(by_nodes, back(x.grad), rtol=1e-9, atol=1e-11)
    for name, slope in px.paths(slopes).items():
        value, how = pairs[name]
        np.testing.assert_allclose(slope, form[how](back(value.grad)), rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("aggregate", ["mean", "sum", "max"])
def test_pooling_is_theirs(aggregate):
    batch = np.array([0, 0, 1, 1, 1, 1])
    pool = {"mean": geometric.global_mean_pool, "sum": geometric.global_add_pool, "max": geometric.global_max_pool}
    found = sci.GraphPool(aggregate)(sci.Graph(NODES, *EDGES, batch=batch))
    np.testing.assert_allclose(found, back(pool[aggregate](torch.tensor(NODES), torch.tensor(batch))), rtol=1e-12)
