"""Signals that are held back until a run has come to a place where it can stop."""

import os
import signal
import threading
from contextlib import suppress

import pytest

from embedkit.interrupts import held_back

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _as_in_the_program():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:  # a shell's background job ignores SIGINT
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_takes_effect_where_it_is_let(number):
    steps = []

    def run():
        with held_back() as interrupted:
            interrupted()
            os.kill(os.getpid(), number)
            steps.append("goes on")
            interrupted()
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == ["goes on"]
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_signal_that_nobody_asks_for_takes_effect_at_the_end():
    steps = []

    def run():
        with held_back():
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("goes on")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == ["goes on"]


def test_a_second_signal_takes_effect_at_once():
    steps = []

    def run():
        with held_back():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == []


def send():
    os.kill(os.getpid(), signal.SIGINT)


def test_in_a_block_inside_of_another_it_takes_effect_where_it_is_let():
    steps = []

    def run():
        with held_back():
            try:
                with held_back() as interrupted:
                    send()
                    steps.append("goes on")
                    interrupted()
            except KeyboardInterrupt:
                steps.append("ended")
            send()  # has been told
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == ["goes on", "ended"]


def test_what_comes_too_late_for_a_block_waits_for_the_end_of_the_one_around_it():
    steps = []

    def run():
        with held_back():
            with held_back():
                send()
            steps.append("kept")
        steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == ["kept"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_block_that_fails_does_not_swallow_a_signal():
    steps = []

    def run():
        with held_back() as interrupted:
            send()
            with suppress(ValueError), held_back():
                raise ValueError
            steps.append("goes on")
            interrupted()
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == ["goes on"]

    def fail():
        with held_back():
            send()
            raise ValueError

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_what_came_before_a_block_takes_effect_in_it():
    steps = []

    def run():
        with held_back():
            send()
            with held_back() as interrupted:
                steps.append("begun")
                interrupted()
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == ["begun"]


def test_what_python_does_not_handle_stays_as_it_is():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with held_back():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_thread_holds_nothing_back():
    seen = []

    def run():
        with held_back() as interrupted:
            interrupted()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
