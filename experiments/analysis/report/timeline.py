"""The federation of a run, round by round: who arrived, who was left out and why, how large updates were."""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from plotly import graph_objects as go

from experiments.analysis.report.curve_plots import attack_line
from experiments.analysis.report.plots import ATTACK_COLOR, BENIGN_COLOR, MIDDLE_GREY, Plot, Table, spec_of
from fedmeta_flwr.data import Roles
from fedmeta_flwr.records import Arrival, RoundRecord

_REASONS = {
    "straggler": "x-thin-open",
    "abstained": "circle-open",
    "busy": "square-open",
    "failed": "diamond-open",
    "unasked": "hexagon-open",
}
_REASON_COLORS = {
    "straggler": "#B87900",
    "abstained": MIDDLE_GREY,
    "busy": "#009E73",
    "failed": "#CC79A7",
    "unasked": MIDDLE_GREY,
}
_ROW_PIXELS, _MOST_ROW_PIXELS = 26, 420


def arrivals_plot(records: Sequence[RoundRecord], roles: Roles) -> Plot:
    """Return who was aggregated and who was left out, a row per client and a column per round.

    Parameters
    ----------
    records : sequence of RoundRecord
        Of one run, one at least.
    roles : Roles
        Who is a client, and who an adversary.
    """
    clients = roles.num_clients
    places = [str(client) for client in range(clients)]
    reasons = sorted({drop.kind for record in records for drop in record.dropped})
    traces = [
        _marks(
            "adversary" if is_adversary else "aggregated",
            list(_aggregated(records, roles, is_adversary)),
            symbol,
            color,
            9 - 2 * (not is_adversary),
        )
        for is_adversary, symbol, color in ((True, "triangle-up", ATTACK_COLOR), (False, "circle", BENIGN_COLOR))
    ]
    traces += [
        _marks(
            kind, list(_dropped(records, kind)), _REASONS.get(kind, "star-open"), _REASON_COLORS.get(kind, "#2E8BC0"), 7
        )
        for kind in reasons
    ]
    spec = spec_of(
        traces,
        title="arrivals",
        height=90 + min(_MOST_ROW_PIXELS, _ROW_PIXELS * clients),
        shapes=[attack_line(number) for number in attacks(records)],
        annotations=_attack_notes(records),
        xaxis={"title": {"text": "round", "standoff": 6}, "zeroline": False, "showgrid": False},
        yaxis={
            "title": {"text": "client", "standoff": 4},
            "tickvals": list(range(clients)) if clients <= 20 else None,
            "ticktext": places if clients <= 20 else None,
            "range": [clients - 0.4, -0.6],
            "zeroline": False,
        },
        hovermode="closest",
    )
    return Plot(spec, _arrivals_label(records, roles), _table(records))


def norms_plot(records: Sequence[RoundRecord], roles: Roles) -> Plot:
    """Return the norms of the aggregated updates on a logarithmic axis."""
    shown = ((True, "adversary", "triangle-up", ATTACK_COLOR, 10), (False, "benign clients", "circle", BENIGN_COLOR, 6))
    traces = [
        go.Scatter(
            x=[record.server_round for record, _ in found],
            y=[arrival.update_norm for _, arrival in found],
            customdata=[_hover(record, arrival) for record, arrival in found],
            mode="markers",
            name=name,
            marker={"symbol": symbol, "color": color, "size": size, "opacity": 0.9},
            hovertemplate="%{customdata}<extra></extra>",
        )
        for is_adversary, name, symbol, color, size in shown
        if (found := [pair for pair in _arrivals(records, roles, is_adversary) if pair[1].update_norm > 0])
    ]
    spec = spec_of(
        traces,
        title="norms of the aggregated updates",
        height=260,
        shapes=[attack_line(number) for number in attacks(records)],
        annotations=_attack_notes(records),
        xaxis={"title": {"text": "round", "standoff": 6}, "zeroline": False, "showgrid": False},
        yaxis={
            "title": {"text": "Euclidean norm", "standoff": 4},
            "type": "log",
            "zeroline": False,
            "tickvals": _ticks(records),
        },
        hovermode="closest",
    )
    return Plot(spec, _norms_label(records, roles), _norms_table(records))


def _ticks(records: Iterable[RoundRecord]) -> list[float]:
    """Return 1, 2 and 5 of each decade with norms; only 1 if there are more than two decades."""
    norms = [arrival.update_norm for record in records for arrival in record.arrivals if arrival.update_norm > 0]
    if not norms:
        return []
    low, high = math.floor(math.log10(min(norms))), math.ceil(math.log10(max(norms)))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    return [step * 10.0**decade for decade in range(low, high + 1) for step in steps]


def attacks(records: Iterable[RoundRecord]) -> list[int]:
    """Return the rounds of attack."""
    return [record.server_round for record in records if record.phase == "attack"]


def _marks(name: str, found: Sequence[tuple[int, int, str]], symbol: str, color: str, size: int) -> Any:
    return go.Scatter(
        x=[server_round for server_round, _, _ in found],
        y=[client for _, client, _ in found],
        customdata=[text for _, _, text in found],
        mode="markers",
        name=name,
        marker={"symbol": symbol, "color": color, "size": size, "line": {"color": color, "width": 1.5}},
        hovertemplate="%{customdata}<extra></extra>",
    )


def _arrivals(
    records: Iterable[RoundRecord], roles: Roles, is_adversary: bool
) -> Iterator[tuple[RoundRecord, Arrival]]:
    for record in records:
        for arrival in record.arrivals:
            if roles.is_adversary(arrival.partition_id) == is_adversary:
                yield record, arrival


def _aggregated(records: Iterable[RoundRecord], roles: Roles, is_adversary: bool) -> Iterator[tuple[int, int, str]]:
    for record, arrival in _arrivals(records, roles, is_adversary):
        yield record.server_round, arrival.partition_id, _hover(record, arrival)


def _hover(record: RoundRecord, arrival: Arrival) -> str:
    place = 1 + [one.partition_id for one in record.arrivals].index(arrival.partition_id)
    late = f", sent in round {arrival.sent_in_round}" if arrival.sent_in_round != record.server_round else ""
    return (
        f"round {record.server_round} ({escape(record.phase)})<br>client {arrival.partition_id}: number {place} "
        f"of {len(record.arrivals)} after {arrival.latency_seconds:.2f} s{late}<br>norm {arrival.update_norm:.3g}"
    )


def _dropped(records: Iterable[RoundRecord], kind: str) -> Iterator[tuple[int, int, str]]:
    for record in records:
        for drop in record.dropped:
            if drop.kind == kind:
                client, reason = drop.partition_id, escape(drop.describe())
                yield record.server_round, client, f"round {record.server_round}<br>client {client}: {reason}"


def _attack_notes(records: Iterable[RoundRecord]) -> list[dict[str, Any]]:
    return [
        {"x": number, "y": 1, "yref": "paper", "text": "attack", "showarrow": False, "yanchor": "bottom", "yshift": -1}
        for number in attacks(records)[:1]
    ]


def dropped_counts(records: Iterable[RoundRecord]) -> dict[str, int]:
    """Return how often clients were left out, by the kind of reason."""
    kinds = [drop.kind for record in records for drop in record.dropped]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _arrivals_label(records: Sequence[RoundRecord], roles: Roles) -> str:
    counts = dropped_counts(records)
    left_out = ", ".join(f"{kind} {number} times" for kind, number in counts.items()) or "nobody"
    found = attacks(records)
    attack = f"Attack in round {', '.join(map(str, found))}." if found else "No attack."
    attacked = {record.server_round for record, _ in _arrivals(records, roles, True)}
    if missed := [number for number in found if number not in attacked]:
        attack += f" No adversary's update was aggregated in round {', '.join(map(str, missed))}."
    first, last = records[0].server_round, records[-1].server_round
    return f"Clients that were aggregated in rounds {first} to {last}, and those left out: {left_out}. {attack}"


def _norms_label(records: Sequence[RoundRecord], roles: Roles) -> str:
    benign = [arrival.update_norm for _, arrival in _arrivals(records, roles, False)]
    norms: dict[int, list[str]] = {}
    for record, arrival in _arrivals(records, roles, True):
        norms.setdefault(record.server_round, []).append(f"{arrival.update_norm:.3g}")
    attacked = [f"{' and '.join(norms[number])} in round {number}" for number in attacks(records) if number in norms]
    spread = f"benign updates from {min(benign):.3g} to {max(benign):.3g}" if benign else "no benign update"
    return f"Norms of updates: {spread}; the adversary's attack {', '.join(attacked) or 'none'}."


def _table(records: Iterable[RoundRecord]) -> Table:
    rows = (
        (
            str(record.server_round),
            record.phase,
            ", ".join(f"{one.partition_id} ({one.latency_seconds:.2f} s)" for one in record.arrivals),
            ", ".join(f"{one.partition_id}: {one.describe()}" for one in record.dropped),
        )
        for record in records
    )
    return Table("arrivals per round", ("round", "phase", "aggregated clients, in order", "left out"), tuple(rows))


def _norms_table(records: Iterable[RoundRecord]) -> Table:
    rows = (
        (
            str(record.server_round),
            record.phase,
            ", ".join(f"{one.partition_id}: {one.update_norm:.3g}" for one in record.arrivals),
        )
        for record in records
    )
    return Table("norms of updates", ("round", "phase", "client: norm"), tuple(rows))
