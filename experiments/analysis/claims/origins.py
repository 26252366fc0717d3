"""Where the numbers behind the claims come from: seeds, revision, time and machine of each run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedmeta_flwr.records import RunResults


@dataclass(frozen=True)
class Origin:
    """What produced a run.

    Attributes
    ----------
    seeds : tuple of int
        Seeds of the run.
    revisions : tuple of str
        Commits of the code, "unknown" if none was recorded; in the order of the seeds, each once.
    seconds : float
        Wall-clock time of all seeds together, without the pre-training that it starts from.
    machines : tuple of str
        Cores and system, each once.
    other_start : tuple of int
        Seeds that started from another model than the run with which they are compared. Their differences then include
        the randomness of two pre-trainings: only on the same kind of processor do two pre-trainings with the same
        settings end with identical models.
    """

    seeds: tuple[int, ...]
    revisions: tuple[str, ...]
    seconds: float
    machines: tuple[str, ...]
    other_start: tuple[int, ...] = ()

    def describe(self) -> str:
        """Return it in one line."""
        revisions = ", ".join(_short(revision) for revision in self.revisions)
        minutes = f"{self.seconds / 60:.0f} min in all"
        text = f"seeds {_numbers(self.seeds)}; commit {revisions}; {minutes} on {'; '.join(self.machines)}"
        if not self.other_start:
            return text
        return f"{text}; went on from another model than the attacked run: seeds {_numbers(self.other_start)}"


def origin_of(results: Mapping[int, RunResults], attacked: Mapping[int, RunResults] | None = None) -> Origin:
    """Return the origin of a run.

    Parameters
    ----------
    results : mapping of int to RunResults
        By seed, at least one.
    attacked : mapping of int to RunResults, optional
        The attacked run that this one is compared with.
    """
    records = [one.run for one in results.values()]
    machines = [record.get("machine", {}) for record in records]
    return Origin(
        seeds=tuple(results),
        revisions=tuple(dict.fromkeys(str(record.get("git_revision") or "unknown") for record in records)),
        seconds=sum(float((one.end or {}).get("seconds", 0)) for one in results.values()),
        machines=tuple(dict.fromkeys(_in_words(machine) for machine in machines)),
        other_start=tuple(seed for seed, one in results.items() if _differ(one, (attacked or {}).get(seed))),
    )


def _in_words(machine: Mapping[str, Any]) -> str:
    """Return the description of a machine; some published results do not have the processor."""
    if not machine:
        return "an unknown machine"
    return ", ".join([f"{machine['cores']} cores", machine["system"], *filter(None, [machine.get("processor")])])


def _differ(one: RunResults, attacked: RunResults | None) -> bool:
    """Return whether two runs are known to have started from different models."""
    starts = {results.run.get("initial_model_digest") for results in (one, attacked) if results is not None}
    return None not in starts and len(starts) > 1


def _numbers(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))


def _short(revision: str) -> str:
    """Shorten a commit to 7 digits; keep ``-dirty``, which marks a modified checkout."""
    number, dash, dirty = revision.partition("-")
    return f"{number[:7]}{dash}{dirty}"
