"""What a training gives away, added up by dp-accounting: ε at a δ, and the noise that an ε takes."""

from __future__ import annotations

import math
from typing import Any

from phlox.core import RangeError, check_size
from phlox.privacy import _peers
from phlox.privacy._checks import check_number

ACCOUNTANTS = ("pld", "rdp")
_TOLERANCE = 1e-3  # of a noise multiplier that is searched for, as a share of it
_ROUGH = "rdp of whole orders"  # an upper bound that is quick
_STRIDE = 1.2  # by which its lower bound is lowered


def account(noise_multiplier: float, delta: float, *, sample_rate: float, steps: int, accountant: str = "pld") -> float:
    r"""ε such that so many noisy steps are (ε, δ)-differentially private.

    $P(M(D) \in S) \le e^\varepsilon P(M(D') \in S) + \delta$ for all S, and all D and D' of which one has an example
    more than the other.

    Arguments:
        noise_multiplier: σ, the standard deviation of the noise over the largest norm of one example's gradient.
        delta: δ in (0, 1), well below 1 over the number of examples.
        sample_rate: the probability of each example to be in a batch, drawn by Poisson sampling; 1 for all examples.
        steps: how many.
        accountant: ``"pld"`` adds up distributions of the privacy loss, and is tight; ``"rdp"`` adds up Rényi
            divergences, an upper bound that others report too.

    Raises:
        RangeError: numbers out of range, an unknown accountant. MissingExtraError: dp-accounting is not installed.

    Source: Koskela, Jälkö and Honkela, "Computing tight differential privacy guarantees using FFT", 2020; Mironov,
    Talwar and Zhang, "Rényi differential privacy of the sampled Gaussian mechanism", 2019.

    >>> import phlox as px
    >>> round(px.privacy.account(1.12, 1e-5, sample_rate=256 / 60_000, steps=60 * 60_000 // 256), 2)
    2.31
    """
    where = "px.privacy.account"
    sigma = check_number(where, "noise_multiplier", noise_multiplier, 0, math.inf, at_low=True)
    count = check_size(where, "steps", steps, least=0)
    found = _fresh(accountant, where)
    checked = _check_delta(delta, where), _check_rate(sample_rate, where)
    if not count:
        return 0.0
    return math.inf if not sigma else float(found.compose(_event(sigma, checked[1]), count).get_epsilon(checked[0]))


def calibrate(epsilon: float, delta: float, *, sample_rate: float, steps: int, accountant: str = "pld") -> float:
    """The smallest ``noise_multiplier``, to a thousandth, with which so many steps are (ε, δ)-differentially private.

    Arguments:
        epsilon: ε above 0.
        delta, sample_rate, steps, accountant: as of ``px.privacy.account``.

    Raises:
        RangeError: numbers out of range, an unknown accountant. MissingExtraError: dp-accounting is not installed.

    >>> import phlox as px
    >>> given = dict(sample_rate=0.01, steps=500, accountant="rdp")
    >>> sigma = px.privacy.calibrate(2.0, 1e-5, **given)
    >>> 1.99 < px.privacy.account(sigma, 1e-5, **given) <= 2.0
    True
    """
    where = "px.privacy.calibrate"
    target = check_number(where, "epsilon", epsilon, 0, math.inf)
    least, rate = _check_delta(delta, where), _check_rate(sample_rate, where)
    count = check_size(where, "steps", steps)
    _fresh(accountant, where)  # refuses an unknown one
    peer = _peers.dp_accounting()

    def found(name: str, bracket: Any, tolerance: float) -> float:
        events = lambda sigma: peer.SelfComposedDpEvent(_event(sigma, rate), count)  # noqa: E731
        fresh = lambda: _fresh(name, where)  # noqa: E731
        return float(peer.calibrate_dp_mechanism(fresh, events, target, least, bracket, tol=tolerance))

    bracket = peer.LowerEndpointAndGuess(0.1, 1.0)
    if accountant == "rdp":
        return found("rdp", bracket, _TOLERANCE / 10)
    high = found(_ROUGH, bracket, _TOLERANCE)
    low = high / _STRIDE  # the tight one asks for less noise, and is slow where there is little
    while account(low, least, sample_rate=rate, steps=count) <= target:
        high, low = low, low / _STRIDE
    return found("pld", peer.ExplicitBracketInterval(low, high), _TOLERANCE * low)


def bound_advantage(epsilon: float, delta: float = 0.0) -> float:
    r"""The most that an attack can find of members beyond what it takes of others: $\frac{e^ε - 1 + 2δ}{e^ε + 1}$.

    Both are shares, of those who were in the data and of those who were not, and it holds whatever the attack knows.

    Arguments:
        epsilon, delta: of an (ε, δ)-differentially private training.

    Raises:
        RangeError: numbers out of range.

    Source: Kairouz, Oh and Viswanath, "The composition theorem for differential privacy", 2015; Humphries et al.,
    "Investigating membership inference attacks under data dependencies", 2020.

    >>> import phlox as px
    >>> round(px.privacy.bound_advantage(1.0, 1e-5), 3)
    0.462
    """
    where = "px.privacy.bound_advantage"
    if epsilon == math.inf:
        return 1.0
    e = check_number(where, "epsilon", epsilon, 0, math.inf, at_low=True)
    d = check_number(where, "delta", delta, 0, 1, at_low=True)
    return min(1.0, math.tanh(e / 2) + d * (1 - math.tanh(e / 2)))


def _event(sigma: float, rate: float) -> Any:
    peer = _peers.dp_accounting()
    gaussian = peer.GaussianDpEvent(sigma)
    return gaussian if rate == 1 else peer.PoissonSampledDpEvent(rate, gaussian)


def _fresh(accountant: str, where: str) -> Any:
    if accountant == _ROUGH:
        return _peers.dp_accounting().rdp.RdpAccountant(range(2, 257))
    if accountant not in ACCOUNTANTS:
        names = ", ".join(map(repr, ACCOUNTANTS))
        raise RangeError(f"one of {names} as accountant", got=repr(accountant), fix="choose among these", where=where)
    peer = _peers.dp_accounting()
    return peer.pld.PLDAccountant() if accountant == "pld" else peer.rdp.RdpAccountant()


def _check_delta(delta: Any, where: str) -> float:
    found = check_number(where, "delta", delta, 0, 1)
    if found == 1:
        raise RangeError("delta below 1", got=repr(delta), fix="give for example delta=1e-5", where=where)
    return found


def _check_rate(rate: Any, where: str) -> float:
    return check_number(where, "sample_rate", rate, 0, 1)
