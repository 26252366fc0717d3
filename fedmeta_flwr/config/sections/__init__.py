"""The settings of a run by section; each section is a frozen dataclass of `setting.setting` fields."""

from fedmeta_flwr.config.sections.attack import Attack
from fedmeta_flwr.config.sections.data import ClassSplit, Data
from fedmeta_flwr.config.sections.defense import Defense
from fedmeta_flwr.config.sections.evaluation import Evaluation
from fedmeta_flwr.config.sections.federation import Federation
from fedmeta_flwr.config.sections.learning import Episodes, MetaLearning
from fedmeta_flwr.config.sections.machine import Machine, Randomness

__all__ = [
    "Attack",
    "ClassSplit",
    "Data",
    "Defense",
    "Episodes",
    "Evaluation",
    "Federation",
    "Machine",
    "MetaLearning",
    "Randomness",
]
