"""The settings of the seed and of the device."""

from dataclasses import dataclass

from fedmeta_flwr.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class RandomnessSettings:
    """The seed."""

    seed: int = setting("Seed of every random stream of the run.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class MachineSettings:
    """The device."""

    device: str = setting("Device of all tensors; auto: a GPU if there is one.", choices=("auto", "cpu", "cuda"))
