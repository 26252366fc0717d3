"""The audit of attacks on the page."""

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from unit.experiments.analysis.test_collection import write_run
from unit.experiments.audit.audit_files import audited, write_audit

from experiments.analysis.audit_table import HEADINGS, attack_row
from experiments.analysis.report import write_report
from experiments.analysis.report.attack_plots import frontier_plot, security_legend, security_plots
from experiments.analysis.report.attacks import audit_views
from experiments.analysis.report.plots import step_place
from experiments.analysis.security import Audited, security_curve
from experiments.cli.audit_session import audit_table
from fedmeta_flwr.records import ResultsError

SECTIONS = ("claims", "attacks", "figures", "federation", "pictures", "episodes", "features", "provenance")


def attacks() -> list[Audited]:
    return [
        audited("a", 60, steps={0: 60, 10: 30}, alone=25),
        audited("<b>b", 50, steps={0: 50, 10: 40}, alone=45, holds=False),
    ]


PageOf = Callable[[Path], str]


def text_of(html: str) -> str:
    """Return what can be read, with one space between words."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def sections(html: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', html)


def nav(html: str) -> list[str]:
    return re.findall(r'<a href="#(\w+)"', html.split("<nav", 1)[1].split("</nav>", maxsplit=1)[0])


def traces(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {trace["meta"]: trace for trace in spec["data"]}


def test_the_page_has_the_rows_of_the_commands_table(page_of: PageOf, tmp_path: Path) -> None:
    write_audit(tmp_path, attacks())
    (view,) = audit_views({("strokes", "quick"): attacks()}, tmp_path)
    assert view.table is not None
    assert (view.table.headings, view.table.rows) == (HEADINGS, tuple(attack_row(one) for one in attacks()))
    console = Console(width=200, no_color=True)
    with console.capture() as shown:
        console.print(audit_table(attacks()))
    page = text_of(page_of(tmp_path))
    for row in view.table.rows:
        assert " ".join(row) in " ".join(shown.get().split())
        assert " ".join(row) in page
    assert view.table.rows[0][:3] == ("a", "+40", "+40..+40")
    assert [row[8] for row in view.table.rows] == ["held", "broken"]


def test_ranges_of_benign_updates_stand_beside_it_for_each_seed(tmp_path: Path) -> None:
    (view,) = audit_views({("strokes", "quick"): attacks()}, tmp_path)
    assert view.benign is not None
    assert view.benign.rows == tuple((str(seed), "4", "1 to 4", "0.5 to 2", "-0.25 to 0.70") for seed in (0, 1, 2))


def test_a_panel_for_each_defense_has_a_line_for_each_attack_and_the_worst_case() -> None:
    matching, alone = security_plots(attacks())
    drawn = traces(matching.spec)
    assert [entry.key for entry in security_legend(attacks())] == [*list(drawn)[1:], "worst"]
    assert drawn["worst"]["y"] == pytest.approx([40, 20])
    assert [one[0] for one in drawn["worst"]["customdata"]] == ["a", "&lt;b&gt;b"]
    assert drawn["worst"]["line"]["width"] > 3 * drawn["line-0"]["line"]["width"]
    for place, (name, along) in enumerate(security_curve(attacks(), "attack_training", "matching").items()):
        trace = drawn[f"line-{place}"]
        assert trace["x"] == pytest.approx([step_place(0), step_place(10)])
        assert trace["y"] == pytest.approx([100 * estimate.value for estimate in along.values()])
        assert "<b>" not in trace["name"], name
    assert drawn["line-0"]["customdata"][1] == ["+10.0 [+10.0, +10.0]", "10"]
    assert matching.table.headings == ("local steps", "a", "<b>b", "worst case")
    assert matching.table.rows[1] == (
        "10",
        "+10.0 [+10.0, +10.0]",
        "+20.0 [+20.0, +20.0]",
        "+20.0 [+20.0, +20.0] <b>b",
    )
    assert "a from +40 to +10" in matching.label
    assert alone.spec["layout"]["yaxis"]["range"] == matching.spec["layout"]["yaxis"]["range"]


def test_the_frontier_has_excess_over_benefit_kept() -> None:
    plot = frontier_plot(attacks())
    assert plot is not None
    (trace,) = plot.spec["data"]
    assert (trace["x"], trace["y"]) == (pytest.approx([35, -5]), pytest.approx([40, 20]))
    assert trace["text"] == ["0", "10"]
    assert frontier_plot([audited("a", 60, steps={0: 60})]) is None


def test_without_steps_the_page_says_so_and_has_the_table(page_of: PageOf, tmp_path: Path) -> None:
    write_audit(tmp_path, [audited("a", 60)])
    page = text_of(page_of(tmp_path))
    assert "No security curves: no steps of a defense were measured (audit --curves)." in page
    assert "Excess over benefit kept" not in page
    assert "a +40 +40..+40" in page


def test_a_root_with_an_audit_only_gives_a_page_with_this_section_only(page_of: PageOf, tmp_path: Path) -> None:
    write_audit(tmp_path, attacks())
    html = page_of(tmp_path)
    assert sections(html) == nav(html) == ["attacks"]
    assert "Strokes, quick" in html
    assert "<b>b" not in html.split('<script type="application/json"')[0]
    shown = json.loads(re.findall(r'id="plots">(.*?)</script>', html)[0])
    assert [spec["layout"]["title"]["text"] for spec in shown] == ["matching", "local-only", "excess over benefit kept"]


def test_beside_runs_the_section_follows_the_claims_and_each_result_has_its_own(
    page_of: PageOf, tmp_path: Path
) -> None:
    write_run(tmp_path, "attack-a", step_curves=())
    before = page_of(tmp_path)
    assert sections(before) == nav(before) == [name for name in SECTIONS if name != "attacks"]
    assert ".beside" not in before
    write_audit(tmp_path, attacks())
    write_audit(tmp_path, attacks(), dataset="omniglot", profile="full")
    html = page_of(tmp_path)
    assert sections(html) == nav(html) == list(SECTIONS)
    assert re.findall(r'<option value="(\d)">([^<]*)', html) == [("0", "Strokes, quick"), ("1", "Omniglot, full")]
    section = html.split('<section id="attacks"')[1].split('<section id="figures"')[0]
    assert re.findall(r'data-material="(\d)">\s*<h3>([^<]*)', section) == [
        ("1", "Omniglot, full, case (a)"),
        ("0", "Strokes, quick, case (a)"),
    ]
    assert html.count("Omniglot, full: no run was measured") == len(SECTIONS) - 1


def test_results_without_an_audit_say_so_where_others_have_one(page_of: PageOf, tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a", step_curves=())
    write_audit(tmp_path, attacks(), dataset="omniglot")
    assert '<div data-material="0"><p class="note">Strokes, quick: no attack was audited.</p>' in page_of(tmp_path)


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_audit(tmp_path, attacks())
    file = tmp_path / "audit" / "strokes" / "quick" / "seed-1" / "a.json"
    file.write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(ResultsError, match=r"seed-1/a\.json: expected a file of an audit"):
        write_report(tmp_path, None, None)


def test_numbers_that_a_file_lacks_leave_out_their_part_with_the_reason(page_of: PageOf, tmp_path: Path) -> None:
    write_audit(tmp_path, attacks())
    file = tmp_path / "audit" / "strokes" / "quick" / "seed-1" / "clean.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["numbers"]["benign"]["cosines"]
    file.write_text(json.dumps(content), encoding="utf-8")
    page = text_of(page_of(tmp_path))
    assert "No benign updates: KeyError: 'cosines'." in page
    assert "a +40 +40..+40" in page
