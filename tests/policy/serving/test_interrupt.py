import signal
import threading

import pytest

from policy.serving.interrupt import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_for_the_end(number):
    with interruptible() as interrupt:
        assert not interrupt.asked
        signal.raise_signal(number)
        assert interrupt.asked


@pytest.fixture
def ctrl_c_ends():
    """Python's own handler, which a process that is started in the background may lack."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_second_ctrl_c_breaks_off(ctrl_c_ends):
    with pytest.raises(KeyboardInterrupt):
        with interruptible():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruptible():
        pass
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_nothing_changes():
    asked = []

    def work():
        with interruptible() as interrupt:
            asked.append(interrupt.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [False]
