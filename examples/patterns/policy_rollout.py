"""A policy rolled out in px.scan (REINFORCE), with a running baseline as State."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array
PUSH = 0.3


class Agent(px.Module):
    """A policy over three pushes (back, none, forth), and the return it has learned to expect."""

    baseline: px.State  # () running mean of returns

    def __init__(self, width: int):
        self.net = px.Chain(px.Dense(2, width, px.tanh), px.Dense(width, 3))
        self.baseline = jnp.zeros((), self.net[0].weight.dtype)

    def __call__(self, state: Array) -> Array:
        return self.net(state)


def environment(state: Array, action: Array) -> tuple[Array, Array]:
    """A puck on a line, (position, speed): it is pushed, slides, and is rewarded for resting at the centre."""
    speed = 0.9 * state[..., 1] + PUSH * (action - 1.0)
    position = state[..., 0] + 0.5 * speed
    return jnp.stack([position, speed], -1), -jnp.square(position) - 0.1 * jnp.square(speed)


def rollout(agent: Agent, key: Array, start: Array, steps: int) -> tuple[Array, Array]:
    """Log-probabilities of the actions taken and rewards, (steps, batch) each."""

    def move(state: Array, key: Array) -> tuple[Array, tuple[Array, Array]]:
        logits = jax.nn.log_softmax(agent(state))
        action = jax.random.categorical(key, logits)
        state, reward = environment(state, action)
        return state, (jnp.take_along_axis(logits, action[:, None], -1)[:, 0], reward)

    return px.scan(move, start, jax.random.split(key, steps))[1]


def train_step(agent: Agent, opt: px.Optimizer, key: Array, start: Array, steps: int = 15) -> Array:
    """One step on a batch of starting states; returns the mean return."""

    def loss_fn(agent: Agent) -> tuple[Array, Array]:
        chosen, reward = rollout(agent, key, start, steps)
        ahead = jnp.cumsum(reward[::-1], 0)[::-1]  # what each action could still change
        share = jnp.arange(steps, 0, -1, dtype=ahead.dtype)[:, None] / steps
        advantage = ahead - share * agent.baseline
        agent.baseline = 0.9 * agent.baseline + 0.1 * reward.sum(0).mean()
        return -jnp.mean(jnp.sum(chosen * jax.lax.stop_gradient(advantage), 0)), reward.sum(0).mean()

    grads, mean_return = px.grad(loss_fn, has_aux=True)(agent)
    opt.update(agent, grads)
    return mean_return


if __name__ == "__main__":
    with px.seed(0):
        agent = Agent(16)
    opt, step = px.Optimizer(px.optim.Adam(1e-2), agent), px.jit(train_step, static_argnames="steps")
    for i, key in enumerate(jax.random.split(jax.random.key(1), 301)):
        a, b = jax.random.split(key)
        mean_return = step(agent, opt, a, jax.random.uniform(b, (64, 2), minval=-1.0, maxval=1.0), steps=15)
        if i % 100 == 0:
            print(f"step {i:3}: mean return {mean_return:.2f}, expected {agent.baseline:.2f}")
