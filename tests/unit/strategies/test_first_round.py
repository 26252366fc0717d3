"""A federation that goes on from an earlier model counts its rounds on from there, in everything that knows rounds."""

from unit.strategies.in_memory_grid import Latencies, federate


def test_rounds_phases_and_evaluations_go_by_the_true_round() -> None:
    asked: list[int] = []

    def is_evaluated(server_round: int) -> bool:
        asked.append(server_round)
        return server_round == 12

    run = federate(
        Latencies([[0, 1, 2, 3]]),
        3,
        first_round=11,
        phase=lambda server_round: f"phase {server_round}",
        is_evaluated=is_evaluated,
    )
    assert [record.server_round for record in run.records] == [11, 12, 13]
    assert [record.phase for record in run.records] == ["phase 11", "phase 12", "phase 13"]
    assert [record.evaluation is not None for record in run.records] == [False, True, False]
    assert set(asked) == {11, 12, 13}
    assert [arrival["sent_in_round"] for arrival in run.records[0].arrivals] == [11, 11, 11]
