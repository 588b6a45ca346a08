"""Make the pictures of the pages on science: ``python docs/make_science_images.py [name …]``."""

from __future__ import annotations

import sys
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "examples"))


def lotka_volterra() -> None:
    """The runs as they were measured and as the equation found continues them, and the term beside the true one."""
    import lotka_volterra as example

    import phlox as px

    found = example.main()
    ts = jnp.linspace(0.0, 20.0, 401)
    starts = found.observed[:1, 0]
    runs = {
        "found": px.science.NeuralODE(found.field, rtol=1e-5, max_steps=20_000)(starts, ts)[0],
        "true": px.science.NeuralODE(lambda y: example.growth(y) + example.meeting(y), rtol=1e-5)(starts, ts)[0],
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for n, (kind, colour) in enumerate((("hares", "tab:blue"), ("foxes", "tab:orange"))):
        left.plot(ts, runs["true"][:, n], color=colour, alpha=0.35, linewidth=4)
        left.plot(ts, runs["found"][:, n], color=colour, label=f"{kind}, found")
        left.plot(found.ts, found.observed[0, :, n], ".", color=colour, markersize=4)
    left.axvline(float(found.ts[-1]), color="grey", linewidth=0.8)
    left.set(xlabel="time", title="measured (dots), found (lines), true (bands)")
    left.legend(fontsize=8)
    seen = found.observed.reshape(-1, 2)
    right.plot(example.meeting(seen), found.field.learned(seen), ".", markersize=4, label=["hares", "foxes"])
    ends = np.array([float(example.meeting(seen).min()), float(example.meeting(seen).max())])
    right.plot(ends, ends, color="black", linewidth=0.8)
    right.set(xlabel="the term that was hidden", ylabel="what the network says", title=f"{found.error:.1%} off")
    right.legend(fontsize=8)
    figure.savefig(IMAGES / "lotka_volterra.png", dpi=90)
    print(f"lotka_volterra: {found.error:.1%} off")


def spirals() -> None:
    """Four spirals, and what the model thinks of each after every point."""
    import jax
    import spirals as example

    found = example.main()
    found.model.cde.return_sequences = True
    odds = jax.nn.sigmoid(found.model(found.points[:4], found.ts[:4]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for n in range(4):
        way = "left" if bool(found.left[n]) else "right"
        left.plot(found.points[n, :, 0], found.points[n, :, 1], ".-", label=way, linewidth=0.8)
        right.plot(found.ts[n], odds[n], ".-", label=way)
    left.set(title="four spirals, inwards in time", aspect="equal")
    right.set(
        xlabel="time", ylabel="turns to the left", ylim=(-0.05, 1.05), title=f"{found.accuracy:.1%} of 400 told apart"
    )
    right.legend(fontsize=8)
    figure.savefig(IMAGES / "spirals.png", dpi=90)
    print(f"spirals: {found.accuracy:.1%}")


def double_pendulum() -> None:
    """Angles on the way, and the true energy."""
    import double_pendulum as example

    found = example.main()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    left.plot(found.ts, found.true[0, :, 1], color="black", alpha=0.35, linewidth=4, label="true")
    for name, swing in found.swings.items():
        left.plot(found.ts, swing[0, :, 1], label=name)
        right.plot(found.ts, example.energy(swing[0]) - example.energy(swing[0, :1]), label=name)
    left.set(xlabel="seconds", ylabel="angle of the lower rod", ylim=(-2.1, 2.6), title="swings")
    right.set(xlabel="seconds", ylabel="joules", title="change of the true energy")
    left.legend(fontsize=8, loc="upper center", ncols=3)
    right.legend(fontsize=8)
    figure.savefig(IMAGES / "double_pendulum.png", dpi=90)
    print("double_pendulum:", found.drifts)


def burgers() -> None:
    """The wave in space and time, with the points of the last round, and cuts beside the exact solution."""
    import burgers as example
    import jax

    with jax.enable_x64(True):
        found = example.main()
        x, t = np.linspace(-1, 1, 401), np.linspace(0, 1, 201)
        places = np.stack(np.meshgrid(x, t, indexing="ij"), -1).reshape(-1, 2)
        wave = np.asarray(found.pinn(jnp.asarray(places))).reshape(401, 201)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    shades = left.pcolormesh(t, x, wave, cmap="RdBu", shading="gouraud")
    figure.colorbar(shades, ax=left)
    left.plot(found.points[::4, 1], found.points[::4, 0], "k.", markersize=1)
    left.set(xlabel="t", ylabel="x", title="u, and a quarter of the points of the last round")
    for n, colour in ((0, "tab:grey"), (50, "tab:blue"), (100, "tab:orange"), (200, "tab:green")):
        exact = example.cole_hopf(x, np.full(401, max(t[n], 1e-9)))
        right.plot(x, exact, color=colour, alpha=0.35, linewidth=4)
        right.plot(x, wave[:, n], color=colour, linewidth=1, label=f"t = {t[n]:g}")
    right.set(xlabel="x", title=f"network (lines), exact (bands): {found.error:.2%} off")
    right.legend(fontsize=8)
    figure.savefig(IMAGES / "burgers.png", dpi=90)
    print(f"burgers: {found.error:.3%} off")


def cavity() -> None:
    """The flow, and velocities along the middles beside those of finite differences."""
    import cavity as example
    import jax

    with jax.enable_x64(True):
        found = example.main()
        wanted, at = example.reference()
        x = np.linspace(0, 1, 81)
        places = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
        flow = np.asarray(example.velocities(found.pinn, jnp.asarray(places))).reshape(81, 81, 2)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9), layout="constrained")
    speed = np.linalg.norm(flow, axis=-1).T
    lines = left.streamplot(x, x, flow[..., 0].T, flow[..., 1].T, color=speed, density=1.4, linewidth=0.8)
    figure.colorbar(lines.lines, ax=left, label="speed")
    left.set(xlabel="x", ylabel="y", xlim=(0, 1), ylim=(0, 1), aspect="equal", title="the flow under a moving lid")
    middle = len(at) // 2
    for name, cut, line, band in (
        ("u, up the middle", at[middle, :, 1], flow[40, :, 0], wanted[middle, :, 0]),
        ("v, across the middle", at[:, middle, 0], flow[:, 40, 1], wanted[:, middle, 1]),
    ):
        (drawn,) = right.plot(x, line, linewidth=1, label=name)
        right.plot(cut, band, color=drawn.get_color(), alpha=0.35, linewidth=4)
    right.set(xlabel="x or y", title=f"the network (lines), differences (bands): {found.error:.2%} off")
    right.legend(fontsize=8)
    figure.savefig(IMAGES / "cavity.png", dpi=90)
    print(f"cavity: {found.error:.3%} off")


def darcy() -> None:
    """A piece of rock on a grid that the operator has not seen, and how far it is off on each grid."""
    import darcy as example

    found = example.main()
    told = np.asarray(found.model(found.rock[:1])[0, ..., 0])
    true = found.pressure[0, ..., 0]
    figure, axes = plt.subplots(1, 5, figsize=(13, 2.9), layout="constrained", width_ratios=[1, 1, 1, 1, 1.1])
    shown = [
        ("rock", found.rock[0, ..., 0], {"cmap": "copper"}),
        ("pressure, by the solver", true, {"vmin": 0, "vmax": true.max()}),
        ("by the operator", told, {"vmin": 0, "vmax": true.max()}),
        ("difference", told - true, {"cmap": "RdBu", "vmin": -0.1 * true.max(), "vmax": 0.1 * true.max()}),
    ]
    for axis, (title, values, options) in zip(axes, shown, strict=False):
        axis.imshow(values, **options)
        axis.set(title=title)
        axis.set_axis_off()
    sizes = [f"{n}²" for n in found.errors]
    axes[4].bar(sizes, [100 * error for error in found.errors.values()], color=["grey", "tab:blue", "grey"])
    axes[4].set(title="off, by grid; blue: trained on", ylabel="%")
    figure.savefig(IMAGES / "darcy.png", dpi=90)
    print("darcy:", found.errors)


def karate() -> None:
    """Members in the plane before training and after it."""
    import karate as example

    found = example.main()
    told = np.asarray(found.model(found.graph).argmax(-1))
    colours = np.where(np.asarray(found.went) == 1, "tab:orange", "tab:blue")
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, places, title in zip(
        axes, (found.before, found.model.places(found.graph)), ("before training", "after"), strict=True
    ):
        places = np.asarray(places)
        for a, b in zip(found.graph.senders, found.graph.receivers, strict=True):
            axis.plot(*places[[int(a), int(b)]].T, color="lightgrey", linewidth=0.6, zorder=0)
        axis.scatter(*places.T, c=colours, s=40)
        known = [example.TRAINER, example.OFFICER]
        axis.scatter(*places[known].T, s=140, facecolors="none", edgecolors="black")
        axis.set(title=title, xticks=[], yticks=[])
    wrong = told != np.asarray(found.went)
    axes[1].scatter(*np.asarray(found.model.places(found.graph))[wrong].T, marker="x", c="black", s=60)
    axes[1].set(title=f"after: {found.right} of 32 told right")
    figure.savefig(IMAGES / "karate.png", dpi=90)
    print(f"karate: {found.right} of 32")


if __name__ == "__main__":
    everything = ("lotka_volterra", "spirals", "double_pendulum", "burgers", "cavity", "darcy", "karate")
    for name in sys.argv[1:] or everything:
        globals()[name]()
