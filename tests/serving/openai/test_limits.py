"""What one client may take, by a clock that is set by hand; and keys."""

import pytest

import phlox as px
from phlox.serving import Limits
from phlox.serving._keys import Keys
from phlox.serving.http._spending import Clients


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self):
        return self.now


def test_tokens_come_back_evenly_and_debts_are_paid():
    clock = Clock()
    clients = Clients(Limits(client_tokens=120), clock)
    with clients.asking("a"):
        clients.spend("a", 150)
    clients.spend("b", 119)
    with pytest.raises(px.serving.QueueFullError, match="at most 120 tokens of one client in a minute") as found:
        clients.asking("a").__enter__()
    assert found.value.retry_after == 16  # 31 tokens at two a second: 30 owed, and one to begin with
    clock.now += 15.4
    with pytest.raises(px.serving.QueueFullError) as found:
        clients.asking("a").__enter__()
    assert found.value.retry_after == 1
    clock.now += 0.2
    with clients.asking("a"), clients.asking("b"), clients.asking("c"):
        pass
    clock.now += 3600
    clients.spend("a", 120)  # never more than those of a minute
    with pytest.raises(px.serving.QueueFullError):
        clients.asking("a").__enter__()


def test_texts_at_a_time_are_each_clients_own_and_are_given_back():
    clients = Clients(Limits(client_requests=3))
    with clients.asking("a", 2):
        with pytest.raises(px.serving.QueueFullError, match=r"at most 3 texts .* at a time, got 2 beside 2"):
            clients.asking("a", 2).__enter__()
        with clients.asking("a"), clients.asking("b", 3):
            pass
    with pytest.raises(ZeroDivisionError), clients.asking("a", 3):
        raise ZeroDivisionError
    with clients.asking("a", 3):
        pass


def test_clients_who_have_all_again_are_forgotten():
    clock = Clock()
    clients = Clients(Limits(client_tokens=60), clock)
    for n in range(10_001):
        clients.spend(str(n), 1)
        clock.now += 0.001
    assert len(clients._left) < 1_100


@pytest.mark.parametrize("keys", [[], ["a", "a"], ["a b"], ["ä"], [""]])
def test_keys_that_are_none(keys):
    with pytest.raises(px.RangeError, match="a token of ASCII without spaces, or several"):
        Keys(keys)


def test_limits_of_clients_are_above_zero_or_none():
    assert Limits().client_tokens is None
    for odd in (0, -1, 1.5, True):
        with pytest.raises(px.RangeError, match="client_tokens as a whole number above 0"):
            Limits(client_tokens=odd)
