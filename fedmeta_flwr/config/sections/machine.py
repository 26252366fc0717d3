"""The settings of what a run depends on beside its subject: seed and device."""

from dataclasses import dataclass

from fedmeta_flwr.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class Randomness:
    """The seed."""

    seed: int = setting("Seed of every random stream of the run.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What computes."""

    device: str = setting("Where tensors live; auto: a GPU when there is one.", choices=("auto", "cpu", "cuda"))
