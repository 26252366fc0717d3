"""Which audits fail, what is kept, and what is drawn."""

from dataclasses import replace
from pathlib import Path

import pytest
from unit.experiments.audit.audit_files import audited, measured, write_audit

from experiments.analysis.audit_files import existing, read_measured, write_measured
from experiments.analysis.figures.security import draw_security
from experiments.analysis.security import excess_of, frontier, read_audits, security_curve, worst_case
from experiments.audit import VARIANTS, AuditFailedError, Variant
from experiments.audit.attacks import layers, variants_of
from experiments.audit.audit import AuditRequest, require_passed
from experiments.cli.audit_session import _document, audit_table
from experiments.settings import APP_DIR, SettingsError, read_defaults
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import CURVES, Counts, ResultsError

REQUEST = AuditRequest(
    names=(),
    dataset="strokes",
    profile="quick",
    seeds=(0, 1, 2),
    results_root=Path("unused"),
    data_dir=None,
    overrides=(),
    curves="",
    jobs=1,
    app_dir=APP_DIR,
)


def config() -> RunConfig:
    return RunConfig.parse(read_defaults(APP_DIR))


def test_an_attack_below_its_floor_fails_by_its_name_in_the_quick_audit_on_strokes_only() -> None:
    weak = [audited("model-replacement", 29), audited("norm-bound-1", 20)]
    with pytest.raises(AuditFailedError, match=r"^model-replacement: expected .* at least 10 points .* found \+9\.0$"):
        require_passed(weak, REQUEST)
    require_passed(weak, replace(REQUEST, profile="full"))
    require_passed([audited("model-replacement", 31)], REQUEST)


def test_a_broken_bound_fails_in_every_audit() -> None:
    with pytest.raises(AuditFailedError, match="norm-bound-1: seed 0, client 0: expected that its bound norm-bound"):
        require_passed([audited("norm-bound-1", 90, holds=False)], replace(REQUEST, profile="full"))


def test_an_untargeted_attack_must_do_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    control = Variant(name="control", text="", least_harm=5.0)
    monkeypatch.setattr("experiments.audit.attacks.VARIANTS", {"control": control})
    with pytest.raises(AuditFailedError, match=r"control: .* main-task accuracy, found \+4\.0"):
        require_passed([audited("control", 16)], REQUEST)
    require_passed([audited("control", 14)], REQUEST)


def test_attacks_share_clean_measurements_and_pretraining_only_if_their_settings_permit_it() -> None:
    alone = [one.name for one in VARIANTS.values() if one.has_federation]
    assert alone == [one.name for one in VARIANTS.values() if one.clean != "clean"] == ["distributed-key"]
    key = Variant(name="key", text="", settings={"key-size": 4})
    assert (key.clean, key.has_federation) == ("clean-key", False)
    colluders = Variant(name="colluders", text="", settings={"num-adversaries": 2})
    assert (colluders.clean, colluders.has_federation) == ("clean-colluders", True)
    assert layers(norm_bound={"factor": 2.0}) == {"attack-layers": '{"norm-bound": {"factor": 2.0}}'}


def test_an_unknown_attack_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"expected any of model-replacement, .*found 'magic'"):
        variants_of(("magic",))
    assert [one.name for one in variants_of(("neurotoxin", "norm-bound-1"))] == ["norm-bound-1", "neurotoxin"]


def test_what_is_measured_is_found_again_and_another_setting_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert existing(tmp_path, "x", config()) is None
    kept = measured(30, name="x", uploads=[])
    assert read_measured(write_measured(tmp_path, kept)) == kept
    assert existing(tmp_path, "x", config(), "made-up") == kept
    assert existing(tmp_path, "x", replace(config(), data_dir="/elsewhere")) == kept
    with pytest.raises(ResultsError, match=r"other settings.*boost-factor: expected 2\.0, found 3\.0"):
        existing(tmp_path, "x", replace(config(), boost_factor=2.0))
    with pytest.raises(ResultsError, match="another clean model"):
        existing(tmp_path, "x", config(), "other")


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(ResultsError, match=r"x\.json: expected a file of an audit"):
        read_measured(tmp_path / "x.json")


def test_the_excess_is_paired_and_the_worst_case_is_the_largest_of_each_step(tmp_path: Path) -> None:
    first, second = audited("a", 60, steps={0: 60, 10: 30}), audited("b", 50, steps={0: 50, 10: 40})
    assert excess_of(first, "attack_training").value == pytest.approx(0.4)
    curves = security_curve([first, second], "attack_training", "matching")
    assert {step: name for step, (name, _) in worst_case(curves).items()} == {0: "a", 10: "b"}
    assert worst_case(curves)[10][1].value == pytest.approx(0.2)
    assert first.norm_ratio() == 3.0
    write_audit(tmp_path, [first, second])
    assert read_audits(tmp_path) == {("strokes", "quick"): [first, second]}


def test_figures_have_a_panel_for_each_defense_and_the_table_a_row_for_each_attack(tmp_path: Path) -> None:
    attacks = [audited("a", 60, steps={0: 60, 10: 30}), audited("b", 50, steps={0: 50, 10: 40})]
    names = [file.name for file in draw_security(attacks, tmp_path)]
    assert names == ["norms.png", "norms.svg", "security.png", "security.svg"]
    assert audit_table(attacks).row_count == 2


def test_the_frontier_has_benefit_kept_and_largest_excess_at_each_step(tmp_path: Path) -> None:
    attacks = [
        audited("a", 60, steps={0: 60, 10: 30}, alone=25),
        audited("b", 50, steps={0: 50, 10: 40}, alone=45),
    ]
    found = frontier(attacks, "attack_training", "matching")
    values = {step: (benefit.value, excess.value) for step, (benefit, excess) in found.items()}
    assert values == {0: pytest.approx((0.35, 0.4)), 10: pytest.approx((-0.05, 0.2))}
    assert [file.name for file in draw_security(attacks, tmp_path)][-2:] == ["frontier.png", "frontier.svg"]


def test_the_benefit_kept_is_that_of_rescues_only_because_other_curves_have_other_episodes() -> None:
    one = audited("a", 60, steps={0: 60, 10: 30}, alone=25)
    few = {curve: Counts([1], [2]) for curve in CURVES}
    for client in (client for side in (one.poisoned, one.clean) for of in side for client in of.evaluation):
        client.step_curves["fine_tuning"] = {0: few, 10: few}  # type: ignore[index]
    assert list(_document(one)["benefit_kept"]) == ["matching"]
