"""px.training, px.dtypes and px.seed belong to the asyncio task that opened them, like context variables."""

import asyncio
import threading

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px


class Told(px.Module):
    """Whether it trains, as a number."""

    def __init__(self):
        self.w = jnp.ones(())

    def __call__(self):
        return self.w * self.training


def test_the_mode_of_one_task_is_not_that_of_another():
    model, seen = Told(), []
    compiled, plain = px.jit(lambda m: m()), jax.jit(lambda m: m())

    def look():
        return model.training, bool(compiled(model)), bool(plain(model))

    async def task(mode):
        seen.append((None, look()))
        with px.training(mode):
            for _ in range(3):
                await asyncio.sleep(0)
                seen.append((mode, look()))
        await asyncio.sleep(0)
        seen.append((None, look()))

    async def main():
        await asyncio.gather(task(True), task(False), task(True))

    asyncio.run(main())
    assert len(seen) == 15
    for mode, found in seen:
        assert found == (bool(mode),) * 3
    assert look() == (False,) * 3


def test_a_plain_program_is_keyed_by_the_tasks_own_mode():
    model, plain = Told(), jax.jit(lambda m: m())

    async def holds():
        with px.training(True):
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def first():
        await asyncio.sleep(0)
        assert float(plain(model)) == 0  # traced while the other task's block is open

    async def main():
        await asyncio.gather(holds(), first())

    asyncio.run(main())
    with px.training(True):
        assert float(plain(model)) == 1
    assert float(plain(model)) == 0


def test_a_task_made_in_a_block_keeps_it_and_so_does_a_thread_of_its_context():
    model, seen = Told(), {}

    async def later():
        await asyncio.sleep(0)
        seen["task"] = bool(jax.jit(lambda m: m())(model))
        seen["thread"] = await asyncio.to_thread(lambda: model.training)

    async def main():
        with px.training(True):
            task = asyncio.create_task(later())
        seen["outside"] = bool(jax.jit(lambda m: m())(model))
        await task

    asyncio.run(main())
    assert seen == {"task": True, "thread": True, "outside": False}
    with px.training(True):
        other = threading.Thread(target=lambda: seen.update(other=model.training))
        other.start()
        other.join()
    assert seen["other"] is False
    assert model.training is False


def test_the_policy_of_dtypes_of_one_task():
    layer, seen = px.Dense(2, 2, key=0), []

    async def task(dtype):
        with px.dtypes(compute=dtype):
            await asyncio.sleep(0)
            seen.append((dtype or jnp.float32, layer(jnp.ones((1, 2))).dtype))

    async def main():
        await asyncio.gather(task(jnp.bfloat16), task(None), task(jnp.float16))

    asyncio.run(main())
    assert len(seen) == 3
    assert all(got == want for want, got in seen)


def test_the_stream_of_one_task():
    async def task(value, drawn):
        with px.seed(value):
            for _ in range(3):
                drawn.append(px.Dense(2, 2).weight)
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(task(value, drawn) for value, drawn in together.items()))

    together = {1: [], 2: []}
    asyncio.run(main())
    for value, drawn in together.items():
        with px.seed(value):
            alone = [px.Dense(2, 2).weight for _ in range(3)]
        np.testing.assert_array_equal(drawn, alone)


def test_blocks_of_generators_end_in_any_order():
    def block(value):
        with px.seed(value), px.training(True):
            yield px.Dense(2, 2).weight

    a, b = block(1), block(2)
    first, second = next(a), next(b)
    a.close()
    with px.seed(1):
        np.testing.assert_array_equal(first, px.Dense(2, 2).weight)
    b.close()
    with px.seed(2):
        np.testing.assert_array_equal(second, px.Dense(2, 2).weight)
    assert Told().training is False


def test_after_a_block_plain_programs_are_found_again():
    traced = []
    plain = jax.jit(lambda x: traced.append(1) or x)
    for mode in (True, False):
        plain(1.0)
        with px.training(mode), px.training(None):
            pass
    plain(1.0)
    assert len(traced) == 1
