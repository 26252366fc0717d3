"""The settings of the seed, and of the device and how it is used."""

from dataclasses import dataclass

from fedmeta_flwr.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class RandomnessSettings:
    """The seed."""

    seed: int = setting("Seed of every random stream of the run.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class MachineSettings:
    """The device, and how it is used."""

    device: str = setting("Device of all tensors; auto: a GPU if there is one.", choices=("auto", "cpu", "cuda"))
    episodes_at_once: int = setting(
        "On a GPU, how many episodes of a meta-batch or of an evaluation are fine-tuned at once; 1: one after the "
        "other, as always on a CPU.",
        minimum=1,
        absent=8,
    )
