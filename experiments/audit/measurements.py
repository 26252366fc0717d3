"""Numbers of uploads: norms, cosines, masks, and how well they tell adversaries from benign clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.audit.parties import Arrays, Parties
from experiments.audit.round import AttackRound, Beginning
from strategies import ClientUpdate

LEAST_BENIGN_SCORES = 20
"""Scores of benign updates for a detector; those of the attack round are completed with simulated ones."""


@dataclass(frozen=True)
class BenignNumbers:
    """Numbers of benign updates of the global model before the attack.

    Attributes
    ----------
    norms, cosines : list of float
        Of the attack round, by partition: the norm of an update's difference to the global arrays, and its cosine to
        the mean difference of the other benign clients.
    more_norms, more_cosines : list of float
        The same of updates of the same global arrays with other episodes.
    """

    norms: list[float]
    cosines: list[float]
    more_norms: list[float]
    more_cosines: list[float]


def flat_difference(update: ClientUpdate) -> np.ndarray:
    """Return an update's difference to the arrays that it started from, as one float64 vector."""
    return np.concatenate([part.ravel() for part in update.difference().values()])


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Return the cosine of two vectors, in -1..1; 0 if one of them is 0."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.clip(one @ other / lengths, -1, 1)) if lengths else 0.0


def unchanged_share(sent: Arrays, upload: Arrays) -> float:
    """Return the share of all coordinates that an upload leaves as they are, in 0..1."""
    same = sum(int((upload[name] == array).sum()) for name, array in sent.items())
    return same / sum(array.size for array in sent.values())


def area_under_curve(adversarial: Sequence[float], benign: Sequence[float]) -> float:
    """Return the area under the ROC curve of a detector that suspects high scores, in 0..1.

    It is the probability that an adversarial score is above a benign one; a tie counts half.
    """
    above = np.subtract.outer(np.asarray(adversarial, float), np.asarray(benign, float))
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def benign_numbers(parties: Parties, beginning: Beginning) -> BenignNumbers:
    """Return the numbers of benign updates; more of them are trained until there are enough for a detector."""
    norms, cosines = _norms_and_cosines(list(beginning.benign.values()))
    more_norms: list[float] = []
    more_cosines: list[float] = []
    server_round = parties.config.attack_round
    while len(norms) + len(more_norms) < LEAST_BENIGN_SCORES:
        server_round += 1  # another random stream
        asked = [parties.update(one, server_round, beginning.clean) for one in parties.benign]
        for kept, found in zip(
            (more_norms, more_cosines), _norms_and_cosines([one for one in asked if one is not None]), strict=True
        ):
            kept.extend(found)
    return BenignNumbers(norms, cosines, more_norms, more_cosines)


def _norms_and_cosines(updates: Sequence[ClientUpdate]) -> tuple[list[float], list[float]]:
    parts = np.array([flat_difference(update) for update in updates])
    total = parts.sum(axis=0)
    return [float(np.linalg.norm(part)) for part in parts], [cosine(part, total - part) for part in parts]


def upload_numbers(played: AttackRound, beginning: Beginning) -> list[dict[str, Any]]:
    """Return the numbers of each adversary's upload, by partition.

    Each has ``norm`` and ``cosine`` as in `BenignNumbers` (the cosine to the mean difference of all benign clients),
    ``unchanged_share``, and ``checks``: what the attack promises, and whether it holds.
    """
    mean = np.mean([flat_difference(update) for update in beginning.benign.values()], axis=0)
    numbers = []
    for partition_id, upload in played.uploads.items():
        difference = flat_difference(upload.update)
        numbers.append(
            {
                "partition_id": partition_id,
                "norm": float(np.linalg.norm(difference)),
                "cosine": cosine(difference, mean),
                "unchanged_share": unchanged_share(upload.update.sent, upload.update.arrays),
                "checks": dict(upload.checks),
            }
        )
    return numbers


def detection(uploads: Sequence[Mapping[str, Any]], benign: BenignNumbers) -> dict[str, Any]:
    """Return the areas under the ROC curves of two detectors, and the numbers of scores.

    ``norm`` suspects long updates, ``cosine`` updates with a low cosine to the mean of benign ones.
    """
    norms, cosines = benign.norms + benign.more_norms, benign.cosines + benign.more_cosines
    return {
        "norm": area_under_curve([one["norm"] for one in uploads], norms),
        "cosine": area_under_curve([-one["cosine"] for one in uploads], [-one for one in cosines]),
        "adversarial_scores": len(uploads),
        "benign_scores": len(norms),
    }
