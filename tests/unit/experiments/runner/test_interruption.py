import signal

import pytest

from experiments.runner.interruption import Interrupted, interruptible, uninterrupted


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_becomes_an_exception_with_the_exit_code_of_a_shell(number: signal.Signals, exit_code: int) -> None:
    with pytest.raises(Interrupted) as interruption, interruptible():
        signal.raise_signal(number)
    assert interruption.value.exit_code == exit_code


def test_a_second_signal_does_not_disturb_the_clean_up() -> None:
    cleaned: list[bool] = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            cleaned.append(True)

    with pytest.raises(Interrupted), interruptible():
        work()
    assert cleaned == [True]


def test_a_signal_waits_for_the_end_of_an_uninterrupted_block() -> None:
    steps: list[str] = []

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            steps.append("whole")
        steps.append("not reached")

    with pytest.raises(Interrupted) as interruption, interruptible():
        work()
    assert steps == ["whole"]
    assert interruption.value.exit_code == 143


def test_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interruptible(), uninterrupted():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
