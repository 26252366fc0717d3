"""Tasks of an audit side by side: a few processes, each of which takes the next task when it is done with one."""

import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from experiments.runner.outcome import RunFailedError
from experiments.runner.simulation import ALLOCATOR

_LOOK_SECONDS = 0.2


class Work(Protocol):
    """Something to do in a process."""

    @property
    def title(self) -> str:
        """Its name on the terminal."""

    def run(self) -> None:
        """Do it."""


def work_off(works: Sequence[Work], jobs: int, done: Callable[[Work], None]) -> None:
    """Do all works, in this process if `jobs` is 1; the others end when one fails.

    Parameters
    ----------
    works : sequence of Work
        Begun in this order; picklable.
    jobs : int
        Largest number of processes, 1 or above.
    done : callable
        Called in this process with each work that is done.

    Raises
    ------
    ValueError
        If one raises it, as for bad input.
    RunFailedError
        If one fails otherwise, or its process dies.
    """
    if jobs == 1:
        for work in works:
            work.run()
            done(work)
        return
    context = multiprocessing.get_context("spawn")
    places, outcomes = context.Queue(), context.Queue()
    for place in [*range(len(works)), *[None] * jobs]:
        places.put(place)
    processes = [
        context.Process(target=_serve, args=(list(works), places, outcomes), daemon=True)
        for _ in range(min(jobs, len(works)))
    ]
    try:
        with _environment(ALLOCATOR):
            for process in processes:
                process.start()
        for _ in works:
            place, error = _next(outcomes, processes)
            if isinstance(error, ValueError):
                raise error
            if error is not None:
                raise RunFailedError(f"{works[place].title}: {error}")
            done(works[place])
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started in the block, unless they are set."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _serve(works: Sequence[Work], places: Any, outcomes: Any) -> None:
    while (place := places.get()) is not None:
        error: Exception | str | None = None
        try:
            works[place].run()
        except ValueError as problem:
            error = ValueError(str(problem))  # the original may not be picklable
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
        outcomes.put((place, error))


def _next(outcomes: Any, processes: Sequence[Any]) -> tuple[int, Exception | str | None]:
    """Wait for the next outcome; raises `RunFailedError` if a process has died."""
    while True:
        try:
            outcome: tuple[int, Exception | str | None] = outcomes.get(timeout=_LOOK_SECONDS)
            return outcome
        except queue.Empty:
            if dead := [process.exitcode for process in processes if process.exitcode]:
                raise RunFailedError(f"a process of the audit died with exit code {dead[0]}") from None
