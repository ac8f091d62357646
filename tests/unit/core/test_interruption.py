"""An interruption waits for the end of work that it must not cut in half."""

from __future__ import annotations

import signal
import threading

import pytest

from softseg.core.interruption import deferred_interruption


@pytest.fixture
def interrupts():
    """Both signals raise KeyboardInterrupt, as in the workers of an ablation."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_effect_after_the_block(interrupts, number):
    done = []

    def interrupted():
        with deferred_interruption():
            signal.raise_signal(number)
            done.append("rest of the block")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_decorated_function_is_completed_each_time(interrupts):
    calls = []

    @deferred_interruption()
    def work():
        signal.raise_signal(signal.SIGTERM)
        calls.append("done")

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            work()
    assert len(calls) == 2


def test_an_ignored_signal_stays_ignored(interrupts):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred_interruption():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_an_error_of_the_block_is_raised_and_handlers_are_restored(interrupts):
    with pytest.raises(ValueError, match="broken"), deferred_interruption():
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_may_use_it(interrupts):
    results = []

    def work():
        with deferred_interruption():
            results.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == ["done"]
