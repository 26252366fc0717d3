"""The run configuration: a typed view of Flower's flat run config.

Defaults are only in ``[tool.flwr.app.config]`` of pyproject.toml. A key is the field's name with dashes.
`RunConfig.parse` is called once per app; inner modules take plain arguments.
"""

import dataclasses
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from fedmeta_flwr.config.contradictions import contradictions
from fedmeta_flwr.config.registry import RegistryError, is_custom, resolve
from fedmeta_flwr.config.schedule import Schedule
from fedmeta_flwr.config.sections import (
    AttackSettings,
    ClassSplitSettings,
    DataSettings,
    DefenseSettings,
    EpisodeSettings,
    EvaluationSettings,
    FederationSettings,
    MachineSettings,
    MetaLearningSettings,
    RandomnessSettings,
)
from fedmeta_flwr.config.setting import checked, key_of

Value = bool | int | float | str
_NONE = "no such setting"


class ConfigError(ValueError):
    """All problems of a configuration.

    Attributes
    ----------
    problems : tuple of str
        One line each: the key, what was expected, and what was found.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{len(problems)} problem(s) in the run configuration:\n{lines}")


@dataclass(frozen=True, kw_only=True)
class RunConfig(
    MachineSettings,
    EvaluationSettings,
    DefenseSettings,
    AttackSettings,
    MetaLearningSettings,
    EpisodeSettings,
    FederationSettings,
    ClassSplitSettings,
    DataSettings,
    RandomnessSettings,
    Schedule,
):
    """Everything that determines a run, parsed and checked.

    The base classes are in the reverse order of the settings, because a dataclass takes the fields of its last base
    first.
    """

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Check Flower's run config, and return it with types.

        Parameters
        ----------
        values : Mapping
            Dashed keys to bool, int, float or str, including the defaults. Settings with an `absent` value may be
            missing, as they are in some result files.

        Returns
        -------
        RunConfig
            The typed configuration.

        Raises
        ------
        ConfigError
            With one line for every unknown, missing, ill-typed, out-of-range or contradictory setting.
        """
        fields = {key_of(field): field for field in dataclasses.fields(cls)}
        values = cls.with_later_settings(values)
        problems = [f"{key}: no such setting" for key in sorted(set(values) - set(fields))]
        problems += [f"{key}: missing" for key in sorted(set(fields) - set(values))]
        parsed: dict[str, Any] = {}
        for key, field in fields.items():
            if key in values:
                try:
                    parsed[field.name] = checked(field, values[key])
                except ValueError as error:
                    problems.append(f"{key}: {error}")
        problems += contradictions(parsed)
        if problems:
            raise ConfigError(problems)
        return cls(**parsed)

    @classmethod
    def free_settings(cls) -> frozenset[str]:
        """Return the keys of the settings that do not change any result."""
        return frozenset(key_of(field) for field in dataclasses.fields(cls) if field.metadata["is_free"])

    @classmethod
    def paths(cls) -> tuple[str, ...]:
        """Return the keys of the settings that name a file or a folder on the machine of the run."""
        return tuple(key_of(field) for field in dataclasses.fields(cls) if field.metadata["is_path"])

    @classmethod
    def with_later_settings(cls, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return a file's run config, completed with the settings that it lacks, each with its `absent` value."""
        fields = [field for field in dataclasses.fields(cls) if field.metadata["absent"] is not None]
        return {key_of(field): field.metadata["absent"] for field in fields} | dict(found)

    def require_custom_objects(self) -> None:
        """Import every custom object; raises a `ConfigError` that lists all that cannot be imported."""
        problems = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata["kind"] and is_custom(value):
                try:
                    resolve(key_of(field), value)
                except RegistryError as error:
                    problems.append(str(error))
        if problems:
            raise ConfigError(problems)

    def to_run_config(self) -> dict[str, Value]:
        """Return the configuration as Flower's flat mapping with dashed keys."""
        return {key_of(field): getattr(self, field.name) for field in dataclasses.fields(self)}

    def differences(self, found: Mapping[str, Any], *, but_for: Set[str] | None = None) -> list[str]:
        """Return the differences of a file's run config from this one, one line each.

        The keys in `but_for` are not compared; by default, these are the settings that do not change any result.
        """
        ignored = self.free_settings() if but_for is None else but_for
        differing = self.differing(self.to_run_config(), found, but_for=ignored)
        return [f"{key}: expected {expected!r}, found {other!r}" for key, (expected, other) in differing.items()]

    @classmethod
    def differing(
        cls, expected: Mapping[str, Any], found: Mapping[str, Any], *, but_for: Set[str] = frozenset()
    ) -> dict[str, tuple[Any, Any]]:
        """Return the settings in which two run configs differ, with both values; `but_for` are not compared."""
        ours, theirs = cls.with_later_settings(expected), cls.with_later_settings(found)
        pairs = {key: (ours.get(key, _NONE), theirs.get(key, _NONE)) for key in sorted({*ours, *theirs} - but_for)}
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}

    @property
    def step_curve_names(self) -> tuple[str, ...]:
        """The step curves that are measured, by their names in results."""
        return tuple(name.replace("-", "_") for name in self.step_curves.split())

    @property
    def fine_tuning_episodes(self) -> int:
        """The number of episodes of each kind for the curve along fine-tuning steps."""
        return min(self.fine_tuning_curve_episodes, self.evaluate_episodes)
