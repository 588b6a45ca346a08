"""Plans for TPUs that are not there: memory and what is sent against closed forms, and what does not fit."""

import re

import jax
import jax.numpy as jnp
import pytest

import phlox as px
from phlox.parallel.planning._topology import Topology

WIDTH, HEADS, DEPTH, WORDS, TEXTS, LENGTH = 512, 8, 4, 1024, 16, 256
KINDS = {"v4": "TPU v4", "v5e": "TPU v5 lite", "v5p": "TPU v5", "v6e": "TPU v6 lite", "v7x": "TPU7x"}


def decoder():
    config = px.models.LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=1,
        num_attention_heads=HEADS, num_key_value_heads=HEADS,
    )  # fmt: skip
    model = px.models.Llama(config)
    model.blocks = [px.nn.RepeatedLayer(lambda: px.models.Llama(config).blocks[0], DEPTH, remat=True)]
    return model


def next_token(model, tokens):
    return px.losses.cross_entropy(model(tokens)[:, :-1], tokens[:, 1:])


def planned(chips, **options):
    given = {"model": decoder, "batch": (TEXTS, LENGTH), "loss": next_token, "precision": "bf16", **options}
    model, batch = given.pop("model"), given.pop("batch")
    return px.parallel.plan(model, px.optim.Adam(1e-4), batch, topology=chips, **given)


@pytest.mark.parametrize("chips", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2", "v7x:2x2x1"])
def test_topologies(chips):
    """As many devices as there are, of the kind that was meant, and two in each chip of the seventh generation."""
    topology = Topology.of(chips)
    devices = topology.devices()
    assert len(devices) == topology.count == 4 * (1 + chips.startswith("v7x"))
    assert {device.device_kind for device in devices} == {KINDS[topology.chip.name]}


@pytest.mark.parametrize("chips", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2", "v7x:2x2x1"])
def test_memory_is_what_the_compiler_allows(chips):
    """Its refusal of a program that no chip holds tells of how much it knows."""
    topology = Topology.of(chips)
    mesh = px.parallel.mesh(data=-1, devices=topology.devices())
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    x = jax.ShapeDtypeStruct((2**16, 2**20), jnp.float32, sharding=whole)
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED") as refused:
        jax.jit(lambda x: jnp.sin(x).sum(0) + jnp.cos(x.T @ x).sum()).lower(x).compile()
    told = re.search(r"of ([\d.]+)G hbm|available HBM \(([\d.]+)G\)", str(refused.value))
    assert float(told[1] or told[2]) == pytest.approx(topology.limit / 2**30, rel=0.05)


@pytest.fixture(scope="module")
def four():
    """Two strategies on four chips."""
    strategies = ["fsdp(4)", "fsdp(2) * tensor_parallel(2)"]
    return {repr(row.strategy): row for row in planned("v5p:2x2x1", strategies=strategies, price=4.2).rows}


def test_each_chip_holds_a_part(four):
    weights = sum(v.size for v in px.paths(px.eval_shape(decoder)).values())
    for row in four.values():
        assert row.fits
        assert 4 * weights / 4 <= row.memory.parameters <= 1.02 * 4 * weights / 4
        assert row.memory.optimizer == pytest.approx(2 * row.memory.parameters, rel=1e-3)
        assert row.memory.activations > DEPTH * 2 * TEXTS * LENGTH * WIDTH / 4


def test_blocks_are_gathered_twice_in_short_numbers(four):
    """What a loop sends counts in each of its rounds, forward and backward; weights go as bfloat16."""
    row = four["fsdp(4)"]
    block = sum(
        v.size for path, v in px.paths(px.eval_shape(decoder)).items() if path.startswith("blocks") and v.size > 4096
    )
    gathered = sum(one.over_links for one in row.sent if one.kind == "all-gather" and one.times == DEPTH)
    assert 2 * 2 * block * 3 / 4 <= gathered <= 1.1 * 2 * 4 * block * 3 / 4


def test_tensor_parallelism_sums_activations(four):
    row = four["fsdp(2) * tensor_parallel(2)"]
    along = [one for one in row.sent if one.axes == ("tensor",) and one.times == DEPTH]
    each = TEXTS // 2 * LENGTH * WIDTH * 2
    assert sum(one.bytes * (1 + (one.kind == "all-reduce")) for one in along) >= 4 * 2 * each


def test_times_and_costs(four):
    for row in four.values():
        assert 0 < row.mfu < 0.7
        assert row.cost == pytest.approx(4.2 * 4 * row.seconds / 3600 / (TEXTS * LENGTH) * 1e6)


def test_what_does_not_fit_is_told_by_the_compiler():
    """Activations alone are too much, so it is seen only when it is compiled; computed again they are not."""
    config = {
        "model": lambda: px.Chain(px.nn.RepeatedLayer(lambda: px.Dense(4096, 4096, px.tanh), 48), px.Dense(4096, 8))
    }
    data = {"batch": (px.Spec(2**17, 4096), px.Spec(2**17, dtype="int32")), "loss": px.losses.cross_entropy}
    found = planned("v6e:1x1", strategies=["data_parallel"], remat=False, **config, **data)
    assert not found.rows[0].fits
    assert found.rows[0].total > 32 * 2**30
    assert found.best is None


def test_a_topology_that_nobody_has():
    with pytest.raises(px.PhloxError, match="a topology that libtpu knows for v5p"):
        planned("v5p:3x5x7")
