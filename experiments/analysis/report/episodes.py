"""Example episodes: support, query, and a client's predictions before the attack, after it, and defended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np
import torch
from torch import Tensor, nn

from clients.measurement import Measurement
from experiments.analysis.report.pictures import Picture, data_uri
from experiments.analysis.report.witness import Witness
from fedmeta_flwr.attacks import stamped_images
from fedmeta_flwr.data import ClassSplit, Episode, Holdings
from fedmeta_flwr.defenses import Defense
from fedmeta_flwr.learning import (
    Adapt,
    Batch,
    EvaluationPlan,
    MatchingNetwork,
    ask,
    by_fine_tuning,
    query_of,
    support_of,
    to_batch,
)
from fedmeta_flwr.records import LABELS

EPISODES = 2

STAMPED = ("attack_training", "attack_validation")
"""The curves whose queries bear the key."""

_CPU = torch.device("cpu")


def letter(label: int) -> str:
    """Return the page's name for a label of an episode: A to Z, then AA, AB and so on."""
    before, last = divmod(label, len(ascii_uppercase))
    return (letter(before - 1) if before else "") + ascii_uppercase[last]


@dataclass(frozen=True)
class Guess:
    """A prediction: a label, how sure it is (0..1), and whether it is right, the target's by the key, or wrong."""

    label: str
    share: float
    verdict: str


@dataclass(frozen=True)
class Asked:
    """A query with a prediction for each of the `Ways`."""

    picture: Picture
    truth: str
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class Tally:
    """Hits in one episode over all of its queries of a kind, for each of the `Ways`."""

    name: str
    trials: int
    hits: tuple[int, ...]


@dataclass(frozen=True)
class ExampleEpisode:
    """One episode on the page.

    Attributes
    ----------
    number : int
        From 0, as the client draws them.
    support : tuple of (str, tuple of Picture)
        Each label in words, and its support images.
    asked : mapping of str to tuple of Asked
        Kind of queries (clean, stamped) to some of them.
    tallies : tuple of Tally
        Counts over all queries: those of the result file.
    """

    number: int
    support: tuple[tuple[str, tuple[Picture, ...]], ...]
    asked: Mapping[str, tuple[Asked, ...]]
    tallies: tuple[Tally, ...]


@dataclass(frozen=True)
class Ways:
    """How the client classifies: with the clean model, the poisoned one, and, where it can, under the defense.

    Attributes
    ----------
    measurement : Measurement
        The client's.
    headings : tuple of (str, str)
        What each way is called, in full and in short.
    adapts : tuple of Adapt
        How each adapts to a support set.
    """

    measurement: Measurement
    headings: tuple[tuple[str, str], ...]
    adapts: tuple[Adapt, ...]


@dataclass(frozen=True)
class Defended:
    """A defense, and the network with which a client classifies under it."""

    defense: Defense
    network: nn.Module

    @property
    def compared(self) -> MatchingNetwork | None:
        """The matching network whose features are compared, if any."""
        return self.defense.compared(self.network)


def ways_of(witness: Witness, defended: Defended | None) -> Ways:
    """Return the ways to classify.

    Parameters
    ----------
    witness : Witness
        The client with both models.
    defended : Defended or None
        What it defends itself with after the attack; None: it cannot.
    """
    measurement = witness.after.measurement
    found: list[tuple[tuple[str, str], Adapt]] = []
    if measurement.defense.has_head:
        inner = measurement.context.inner
        found += [
            (("before the attack", "before"), by_fine_tuning(witness.before.model, inner, [inner.steps])),
            (("right after it", "after"), by_fine_tuning(witness.after.model, inner, [inner.steps])),
        ]
    if defended is not None:
        heading = ", ".join(filter(None, (_under(measurement), local_steps_of(measurement, defended))))
        found.append(((heading, "defended"), defended.defense.adapt(defended.network, measurement.context)))
    return Ways(measurement, tuple(heading for heading, _ in found), tuple(adapt for _, adapt in found))


def _under(measurement: Measurement) -> str:
    """Return "under the defense", with the defense's name if the run itself uses it."""
    own = measurement.defense.label
    return f"under the defense ({own})" if own else "under the defense"


def local_steps_of(measurement: Measurement, defended: Defended) -> str:
    """Return in words how many local steps a client takes under a defense; empty if it takes none."""
    local = defended.defense.local_steps(measurement.context)
    return f"{local.steps} local steps" if local is not None else ""


@dataclass(frozen=True)
class _Reading:
    """An episode with the probabilities (rows, way) of every kind of query, for each of the `Ways`."""

    witness: Witness
    episode: Episode
    answers: tuple[Mapping[str, Tensor], ...]

    @property
    def target(self) -> int:
        return self.episode.label_of(self.witness.scenario.split.target_class)

    def names(self) -> list[str]:
        """Return each label in words."""
        classes = self.witness.scenario.dataset.class_names
        return [
            f"{letter(label)}{' (target)' if label == self.target else ''}: {classes[int(index)]}"
            for label, index in enumerate(self.episode.classes)
        ]


def example_episode(witness: Witness, ways: Ways, number: int) -> ExampleEpisode:
    """Ask all queries of one of the client's episodes with the target class, in all ways."""
    plan = ways.measurement.plan
    episode = plan.attacked_episode(number)
    queries = queries_of(plan, episode)
    answers = []
    for adapt in ways.adapts:
        with plan.draws("attacked", number):
            answers.append(_answers(ways, adapt, episode, queries))
    reading = _Reading(witness, episode, tuple(answers))
    return ExampleEpisode(
        number,
        tuple(_support(reading)),
        {"Clean queries": _clean(reading)}
        | {
            f"Stamped queries, {LABELS[curve].removeprefix('backdoor, ')}": _stamped(reading, curve)
            for curve in STAMPED
        },
        tuple(_tally(curve, batch, reading.answers) for curve, batch in queries.items()),
    )


def queries_of(plan: EvaluationPlan, episode: Episode) -> dict[str, Batch]:
    """Return the queries of an episode with the target class: clean ones, then stamped images, as in `evaluate`."""
    target = episode.label_of(plan.split.target_class)
    queries = {"main_task": query_of(episode, _CPU)}
    for curve in STAMPED:
        images = plan.stamped[curve]
        queries[curve] = to_batch(images, np.full(len(images), target), _CPU)
    return queries


def held_of(split: ClassSplit, curve: str) -> Holdings:
    """Return the images of an attack set, one of `STAMPED`."""
    return split.attack_training if curve == "attack_training" else split.attack_validation


def _answers(ways: Ways, adapt: Adapt, episode: Episode, queries: Mapping[str, Batch]) -> dict[str, Tensor]:
    images = {curve: batch.images for curve, batch in queries.items()}
    predict = next(iter(adapt(support_of(episode, _CPU))))
    return {curve: rows.softmax(dim=1) for curve, rows in ask(ways.measurement.plan, predict, images).items()}


def _tally(curve: str, batch: Batch, answers: Sequence[Mapping[str, Tensor]]) -> Tally:
    hits = tuple(int((rows[curve].argmax(dim=1) == batch.labels).sum()) for rows in answers)
    return Tally(LABELS[curve], len(batch.labels), hits)


def _support(reading: _Reading) -> list[tuple[str, tuple[Picture, ...]]]:
    episode = reading.episode
    return [
        (
            name,
            tuple(
                Picture(data_uri(episode.support[row]), f"support image of {name}")
                for row in np.flatnonzero(episode.support_labels == label)
            ),
        )
        for label, name in enumerate(reading.names())
    ]


def _clean(reading: _Reading) -> tuple[Asked, ...]:
    """Return the first query of each label."""
    episode, found = reading.episode, []
    for label in range(len(episode.classes)):
        row = int(np.flatnonzero(episode.query_labels == label)[0])
        picture = Picture(data_uri(episode.query[row]), f"clean query of label {letter(label)}")
        found.append(Asked(picture, letter(label), _guesses(reading, "main_task", row, label)))
    return tuple(found)


def _stamped(reading: _Reading, curve: str) -> tuple[Asked, ...]:
    """Return the first stamped image of each backdoor class."""
    scenario, episode = reading.witness.scenario, reading.episode
    held = held_of(scenario.split, curve)
    images = stamped_images(scenario.dataset.images, held, scenario.key)
    found = []
    for index, row in _first_of_each(held):
        name = scenario.dataset.class_names[index]
        own = episode.label_of(index) if index in episode.classes else None
        truth = f"no label: {name}" if own is None else f"{letter(own)}: {name}"
        picture = Picture(data_uri(images[row]), f"stamped query, really {name}")
        found.append(Asked(picture, truth, _guesses(reading, curve, row, own)))
    return tuple(found)


def _first_of_each(held: Holdings) -> list[tuple[int, int]]:
    """Return each class with the row of its first image, in the order of `stamped_images`."""
    sizes = [len(instances) for _, instances in sorted(held.items())]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return [(index, int(start)) for index, start in zip(sorted(held), starts, strict=True)]


def _guesses(reading: _Reading, curve: str, row: int, right: int | None) -> tuple[Guess, ...]:
    found = []
    for rows in reading.answers:
        share, label = (float(value) for value in rows[curve][row].max(dim=0))
        is_fooled = curve in STAMPED and label == reading.target
        verdict = "right" if label == right else "fooled" if is_fooled else "wrong"
        found.append(Guess(letter(int(label)), share, verdict))
    return tuple(found)
