"""The table of an audit, as the command and the report show it: a row for each attack, and the benign updates."""

from collections.abc import Sequence

import numpy as np

from experiments.analysis.security import Audited, excess_of

HEADINGS = ("attack", "train", "95 %", "valid", "main", "norm", "cos", "mask", "bounds", "AUC n", "AUC c")
"""Of the columns of `attack_row`."""

MEANINGS = """\
train, valid, main: accuracy with the poisoned model minus that with the clean model, in points, without a defense; \
of the backdoor on attack training images, with its interval, and on attack validation images; and of the main task.
norm, cos, mask: of the upload; over the median norm of a benign update; cosine to the mean benign update; share of \
weights left as they are, in %.
AUC n, AUC c: how well the norm, or a low cosine, tells the upload from benign updates; 0.5 is chance."""
"""What the columns mean."""

BENIGN_HEADINGS = ("seed", "updates", "norm", "norm / median", "cosine")
"""Of the columns of `benign_rows`."""


def table_title(attacks: Sequence[Audited]) -> str:
    """Return what stands above the table, with all seeds."""
    seeds = sorted({measured.seed for one in attacks for measured in one.poisoned})
    return f"Attacks without a defense, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def attack_row(one: Audited) -> tuple[str, ...]:
    """Return the cells of an attack: excess of accuracy in points, with an interval, and numbers of its upload.

    Raises
    ------
    CountsError
        If the counts with clean and poisoned model cannot be paired.
    """
    training = excess_of(one, "attack_training")
    uploads = [upload for measured in one.poisoned for upload in measured.numbers["uploads"]]
    detection = [measured.numbers["detection"] for measured in one.poisoned]
    checks = [(name, holds) for upload in uploads for name, holds in upload["checks"].items()]
    broken = not all(holds for _, holds in checks)
    return (
        one.name,
        _points(training.value),
        f"{_points(training.low)}..{_points(training.high)}",
        _points(excess_of(one, "attack_validation").value),
        _points(excess_of(one, "main_task").value),
        f"{one.norm_ratio():.3g}",
        f"{_mean([upload['cosine'] for upload in uploads]):.2f}",
        f"{100 * _mean([upload['unchanged_share'] for upload in uploads]):.0f}",
        "broken" if broken else "held" if checks else "none",
        f"{_mean([found['norm'] for found in detection]):.2f}",
        f"{_mean([found['cosine'] for found in detection]):.2f}",
    )


def benign_rows(attacks: Sequence[Audited]) -> list[tuple[str, ...]]:
    """Return a row for each seed and clean model: the number of benign updates, and ranges of norm and cosine.

    Where attacks are compared with different clean measurements, their name stands beside the seed.

    The updates are those of the attack round, and further ones of the same model. The norm is also over the median of
    the attack round, as `attack_row` has it. The cosine is to the mean of the other benign updates.
    """
    found = {(clean.name, clean.seed): clean.numbers["benign"] for one in attacks for clean in one.clean}
    rows: list[tuple[str, ...]] = []
    has_names = len({name for name, _ in found}) > 1
    for (name, seed), benign in sorted(found.items()):
        norms, median = benign["norms"] + benign["more_norms"], float(np.median(benign["norms"]))
        cosines = benign["cosines"] + benign["more_cosines"]
        cells = (f"{min(norms):.3g} to {max(norms):.3g}", f"{min(norms) / median:.3g} to {max(norms) / median:.3g}")
        seed_cell = f"{seed}, {name}" if has_names else str(seed)
        rows.append((seed_cell, str(len(norms)), *cells, f"{min(cosines):.2f} to {max(cosines):.2f}"))
    return rows


def _points(share: float) -> str:
    return f"{100 * share:+.0f}"


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
