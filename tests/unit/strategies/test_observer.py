"""What an observer learns about the inside of a run's rounds."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from unit.strategies.in_memory_grid import Latencies, federate

from fedmeta_flwr.records.progress import Observer, Stage

LATENCIES = Latencies([[0.0, 1.0, 2.0, 9.0]])


class Notes(Observer):
    def __init__(self) -> None:
        self.notes: list[Any] = []

    def begin(self, stage: Stage, server_round: int = 0, clients: Collection[int] = ()) -> None:
        self.notes.append((stage, server_round, tuple(clients)))

    def registered(self, nodes: int) -> None:
        self.notes.append(("registered", nodes))

    def asked(self, client: int) -> None:
        self.notes.append(("asked", client))

    def answered(self, client: int) -> None:
        self.notes.append(("answered", client))

    def between(self, first: tuple[Any, ...], last: tuple[Any, ...]) -> list[Any]:
        begin = self.notes.index(first)
        return self.notes[begin + 1 : self.notes.index(last, begin)]


def test_stages_and_who_was_asked_and_has_answered_are_reported_in_order() -> None:
    observer = Notes()
    everybody = (0, 1, 2, 3)
    federate(LATENCIES, rounds=2, is_evaluated=lambda number: number == 2, observer=observer)
    stages = [note for note in observer.notes if len(note) == 3]
    assert [stage[:2] for stage in stages] == [
        ("registering", 0),
        *(("training", 1), ("aggregating", 1), ("saving", 1)),
        *(("training", 2), ("aggregating", 2), ("evaluating", 2), ("saving", 2)),
        ("ending", 0),
    ]
    assert ("registered", 4) in observer.notes
    training = observer.between(("training", 1, everybody), ("aggregating", 1, ()))
    assert [note for note in training if note[0] == "asked"] == [("asked", client) for client in everybody]
    assert [note for note in training if note[0] == "answered"] == [("answered", client) for client in everybody]
    evaluation = observer.between(("evaluating", 2, everybody), ("saving", 2, ()))
    assert sorted(note for note in evaluation if note[0] == "asked") == [("asked", client) for client in everybody]


def test_clients_that_the_server_waits_for_before_a_checkpoint_and_at_the_end_are_reported() -> None:
    observer = Notes()
    straggler = Latencies([[0.0, 1.0, 2.0, 2.5]])  # lands in round 2, where it is thrown away
    options: dict[str, Any] = {"is_checkpointed": lambda number: number == 2, "on_checkpoint": lambda *_: None}
    federate(straggler, rounds=2, delay=lambda partition, had: 400 * (partition == 3), observer=observer, **options)
    assert observer.between(("saving", 2, (3,)), ("ending", 0, ())) == [("answered", 3)]
    observer = Notes()
    federate(straggler, delay=lambda partition, had: 40 * (partition == 3), observer=observer)
    assert observer.notes[-2:] == [("ending", 0, (3,)), ("answered", 3)]


def test_being_watched_sends_no_message_and_changes_no_result() -> None:
    watched = federate(LATENCIES, rounds=3, observer=Notes())
    alone = federate(LATENCIES, rounds=3)
    assert sorted(map(str, watched.grid.sent)) == sorted(map(str, alone.grid.sent))
    assert [replace(record, seconds=0.0) for record in watched.records] == [
        replace(record, seconds=0.0) for record in alone.records
    ]
