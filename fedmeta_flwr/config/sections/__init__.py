"""The settings of a run by section; each section is a frozen dataclass of `setting.setting` fields."""

from fedmeta_flwr.config.sections.attack import AttackSettings
from fedmeta_flwr.config.sections.data import ClassSplitSettings, DataSettings
from fedmeta_flwr.config.sections.defense import DefenseSettings
from fedmeta_flwr.config.sections.evaluation import EvaluationSettings
from fedmeta_flwr.config.sections.federation import FederationSettings
from fedmeta_flwr.config.sections.learning import EpisodeSettings, MetaLearningSettings
from fedmeta_flwr.config.sections.machine import MachineSettings, RandomnessSettings

__all__ = [
    "AttackSettings",
    "ClassSplitSettings",
    "DataSettings",
    "DefenseSettings",
    "EpisodeSettings",
    "EvaluationSettings",
    "FederationSettings",
    "MachineSettings",
    "MetaLearningSettings",
    "RandomnessSettings",
]
