"""The claims table as files: JSON for programs, Markdown for people."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.analysis.claims.accuracies import Measured
from experiments.analysis.claims.judging import Answer, Compared, Judged, Judgement
from experiments.analysis.claims.numbers import accuracy_text, estimate_json
from experiments.analysis.claims.poster import CLAIMS
from experiments.analysis.claims.table import LEGEND, claims_markdown, row_verdict
from fedmeta_flwr.records import write_whole

FORMAT = 1


def write_claims(judged: Sequence[Judged], folder: Path) -> list[Path]:
    """Write ``claims.json`` and ``claims.md``, replacing existing ones.

    Parameters
    ----------
    judged : sequence of Judged
        One per data set and profile.
    folder : Path
        Made if it is missing.

    Returns
    -------
    list of Path
        The two files. The same results give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = claims_record(judged)
    texts = {
        folder / "claims.json": json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False),
        folder / "claims.md": "\n\n".join(("# Claims", LEGEND, *map(claims_markdown, judged))),
    }
    for path, text in texts.items():
        write_whole(path, text + "\n")
    return list(texts)


def claims_record(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return the content of ``claims.json``."""
    return {"format": FORMAT, "collections": [claims_json(one) for one in judged]}


def claims_json(judged: Judged) -> dict[str, Any]:
    """Return one collection's claims, controls, accuracies and gaps for strict JSON; all are fractions, not percent."""
    return {
        "dataset": judged.dataset,
        "profile": judged.profile,
        "runs": {run: list(origin.seeds) for run, origin in judged.origins.items()},
        "origins": {run: vars(origin) for run, origin in judged.origins.items()},
        "claims": [_answer(answer) for answer in judged.answers],
        "controls": [_control(compared) for compared in judged.controls],
        "accuracies": [_measured(measured) for measured in judged.accuracies],
        "missing_runs": list(judged.missing_runs),
        "missing": [
            {"why": reason, "what": [{"name": name, "place": place} for name, place in names]}
            for reason, names in judged.missing.items()
        ],
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.claim,
        "variant": answer.variant,
        "text": CLAIMS[answer.claim].text,
        "verdict": answer.verdict,
        "summary": answer.summary,
        "unanswered": answer.unanswered,
        "places": [_judgement(judgement) for judgement in answer.judgements],
    }


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "case": judgement.question.case,
        "measured": judgement.question.measured,
        "verdict": judgement.verdict,
        "notes": list(judgement.notes),
        "statements": [
            {
                "text": row.statement.text,
                "premise": row.statement.premise,
                "holds_if": row.statement.holds_if,
                "threshold": row.statement.threshold,
                "reason": row.statement.reason,
                "estimate": estimate_json(row.estimate),
                "verdict": row_verdict(row),
            }
            for row in judgement.rows
        ],
    }


def _control(compared: Compared) -> dict[str, Any]:
    control = compared.control
    return {
        "text": control.text,
        "case": control.case,
        "measured": control.measured,
        "notes": list(compared.notes),
        "estimate": estimate_json(compared.estimate),
    }


def _measured(measured: Measured) -> dict[str, Any]:
    return {
        "run": measured.moment.run,
        "moment": measured.moment.name,
        "notes": list(measured.notes),
        "estimates": {
            curve: estimate_json(estimate) | {"text": accuracy_text(estimate)}
            for curve, estimate in measured.estimates.items()
        },
    }
