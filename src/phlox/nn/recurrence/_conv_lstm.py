"""Long short-term memory over images: its products are convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, ShapeError, describe, harmonise, key_or_draw, param_dtype, python_control_flow
from phlox.nn import functional as F
from phlox.nn import init as inits
from phlox.nn._autosize import sized
from phlox.nn._checks import Padding, Sizes, check_act, check_size, padding_of, per_axis, sizes_of
from phlox.nn.functional.recurrence._loop import is_pure

Activation = Callable[[jax.Array], jax.Array]


class _ConvLSTM(Module):
    weight_ih: Param  # (*kernel, in, 4 · hidden)
    weight_hh: Param  # (*kernel, hidden, 4 · hidden)
    bias: Param | None  # (4 · hidden,)
    act: Activation
    return_state: bool

    _stepwise = False

    def __init__(
        self,
        kernel: Sizes,
        in_channels: int,
        hidden_channels: int,
        act: Activation = F.tanh,
        *,
        stride: Sizes = 1,
        padding: Padding = "SAME",
        dilation: Sizes = 1,
        bias: bool = True,
        forget_bias: float = 1.0,
        return_state: bool = False,
        init: Callable[..., jax.Array] = inits.glorot_uniform,
        key: Any = None,
    ):
        name = type(self).__name__
        self.kernel: tuple[int, ...] = sizes_of(name, "kernel", kernel)
        self.in_channels: int = check_size(name, "in_channels", in_channels)
        self.hidden_channels: int = check_size(name, "hidden_channels", hidden_channels)
        self.act, self.return_state = check_act(name, act), bool(return_state)
        self.stride: tuple[int, ...] = per_axis(name, "stride", stride, len(self.kernel))
        self.padding: Padding = padding_of(name, padding, len(self.kernel))
        self.dilation: tuple[int, ...] = per_axis(name, "dilation", dilation, len(self.kernel))
        self.forget_bias: float = float(forget_bias)
        keys = jax.random.split(key_or_draw(key), 8)
        shapes = [(*self.kernel, n, hidden_channels) for n in (in_channels, hidden_channels)]
        blocks = [[init(k, shape, param_dtype()) for k in keys[4 * i : 4 * i + 4]] for i, shape in enumerate(shapes)]
        self.weight_ih, self.weight_hh = (jnp.concatenate(parts, -1) for parts in blocks)
        self.bias = None
        if bias:
            zeros = jnp.zeros(4 * hidden_channels, param_dtype())
            self.bias = zeros.at[hidden_channels : 2 * hidden_channels].set(forget_bias)

    def _sequence(self, x: Any, state: Any, lengths: Any, mask: Any) -> Any:
        x, w_ih, w_hh, bias = harmonise(self, x, self.weight_ih, self.weight_hh, self.bias)
        rank = len(self.kernel) + (2 if self._stepwise else 3)
        if x.ndim != rank or x.shape[-1] != self.in_channels:
            space = ", ".join(["height", "width", "depth"][: len(self.kernel)]) if len(self.kernel) > 1 else "place"
            time = "" if self._stepwise else "time, "
            fix = "add the axis that is missing" if x.ndim < rank else "give it channels last, and as many as it takes"
            raise ShapeError(f"(batch, {time}{space}, {self.in_channels})", got=describe(x), fix=fix)
        if self._stepwise:
            x = x[:, None]
        if lengths is not None and python_control_flow():
            lengths = jnp.asarray(lengths)
            F.sequence_mask(lengths, x.shape[1])  # refuses lengths out of range while they can be read
        run = _compiled if python_control_flow() and is_pure(self.act) else _forward
        return run(
            self.act, x, w_ih, w_hh, bias, state, lengths, mask, stride=self.stride, padding=self.padding,
            dilation=self.dilation,
        )  # fmt: skip

    def _brief(self) -> str:
        act = "" if self.act is F.tanh else f", {getattr(self.act, '__name__', self.act)}"
        return f"{type(self).__name__}({self.kernel}, {self.in_channels} → {self.hidden_channels}{act})"


def _forward(
    act: Any, x: Any, w_ih: Any, w_hh: Any, bias: Any, state: Any, lengths: Any, mask: Any, **options: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return F.conv_lstm(x, w_ih, w_hh, bias, state, act=act, lengths=lengths, mask=mask, **options)


_compiled = jax.jit(_forward, static_argnums=0, static_argnames=("stride", "padding", "dilation"))


@sized(in_channels=-1)
class ConvLSTM(_ConvLSTM):
    r"""Convolutional LSTM over sequences of images: $c_t = f ⊙ c_{t-1} + i ⊙ σ(g)$, $y_t = h_t = o ⊙ σ(c_t)$.

    $[i, f, g, o] = W_{ih} * x_t + W_{hh} * h_{t-1} + b$ in blocks of channels, where i, f and o pass through a sigmoid
    and $*$ is a convolution.

    Shapes:
        x: (batch, time, *space, in); y: (batch, time, *space', hidden); the states h and c: (batch, *space', hidden);
        weight_ih: (*kernel, in, 4 · hidden); weight_hh: (*kernel, hidden, 4 · hidden); bias: (4 · hidden,).

    Arguments:
        kernel: size along each spatial axis; its length is the number of spatial axes.
        in_channels: channels of the input.
        hidden_channels: channels of the state.
        act: σ.
        stride, padding, dilation: of the inputs' convolution, as in ``Conv``; the states' keeps the size of space.
        bias: whether to add b, which starts at zero, but for the block of f.
        forget_bias: where b starts in the block of f.
        return_state: whether the call gives ``(y, (h, c))`` in place of y.
        init: initialiser of the weights, each gate by itself.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Called with ``(x, state=None, lengths=None, mask=None)``, as ``LSTM`` is.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input of another rank or of other channels.

    Source: Shi et al., "Convolutional LSTM network", 2015, without its peepholes.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.ConvLSTM((3, 3), 1, 4)(jnp.ones((2, 5, 8, 8, 1))).shape
    (2, 5, 8, 8, 4)
    """

    def __call__(self, x: Any, state: Any = None, lengths: Any = None, mask: Any = None) -> Any:
        y, last = self._sequence(x, state, lengths, mask)
        return (y, last) if self.return_state else y


@sized(in_channels=-1)
class ConvLSTMCell(_ConvLSTM):
    r"""One step of ``ConvLSTM``; gives (h', (h', c')).

    Shapes:
        x: (batch, *space, in); the states h and c: (batch, *space', hidden).

    Arguments and errors: as ``ConvLSTM``; ``return_state`` has no meaning here.

    Source: Shi et al., "Convolutional LSTM network", 2015, without its peepholes.

    >>> import jax.numpy as jnp, phlox as px
    >>> out, (h, c) = px.nn.ConvLSTMCell(3, 1, 4)(jnp.ones((2, 8, 1)))
    >>> out.shape, c.shape
    ((2, 8, 4), (2, 8, 4))
    """

    _stepwise = True

    def __call__(self, x: Any, state: Any = None) -> Any:
        _, last = self._sequence(x, state, None, None)
        return last[0], last
