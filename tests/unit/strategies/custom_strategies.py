"""What a user may name as ``module:Class``."""

from flwr.serverapp.strategy import FedAvg, Strategy


class Strengthened(FedAvg):
    def __init__(self, strength: float = 1.0) -> None:
        super().__init__()
        if strength < 0:
            raise ValueError("strength must be 0 or above")
        self.strength = strength


class Unfinished(Strategy):
    pass


NOT_A_CLASS = 3
