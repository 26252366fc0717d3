"""Where the numbers behind the claims come from: seeds, revision, time and machine of each run."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedmeta_flwr.results import RunResults


@dataclass(frozen=True)
class Origin:
    """What made a run.

    Attributes
    ----------
    seeds : tuple of int
        Of the run.
    revisions : tuple of str
        Commits of the code, "unknown" where none was recorded; in the order of the seeds, each once.
    seconds : float
        Wall-clock time of all seeds together, without the pre-training that it goes on from.
    machines : tuple of str
        Cores and system, each once.
    """

    seeds: tuple[int, ...]
    revisions: tuple[str, ...]
    seconds: float
    machines: tuple[str, ...]

    def describe(self) -> str:
        """Say it in a line."""
        revisions = ", ".join(_short(revision) for revision in self.revisions)
        minutes = f"{self.seconds / 60:.0f} min in all"
        return f"seeds {', '.join(map(str, self.seeds))}; commit {revisions}; {minutes} on {'; '.join(self.machines)}"


def origin_of(results: Mapping[int, RunResults]) -> Origin:
    """Return the origin of a run, given its results by seed, at least one."""
    records = [one.run for one in results.values()]
    machines = [record.get("machine", {}) for record in records]
    return Origin(
        seeds=tuple(results),
        revisions=tuple(dict.fromkeys(str(record.get("git_revision") or "unknown") for record in records)),
        seconds=sum(float((one.end or {}).get("seconds", 0)) for one in results.values()),
        machines=tuple(
            dict.fromkeys(f"{one['cores']} cores, {one['system']}" if one else "an unknown machine" for one in machines)
        ),
    )


def _short(revision: str) -> str:
    """Shorten a commit to 7 digits; that its checkout had changes (``-dirty``) stays."""
    number, dash, dirty = revision.partition("-")
    return f"{number[:7]}{dash}{dirty}"
