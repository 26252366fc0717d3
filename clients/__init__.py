"""The parties of the federation, as Flower NumPyClients."""

from clients.adversary import Abstention, Adversary, Attack, boost
from clients.benign import BenignClient
from clients.factory import ADVERSARY, initial_model, make_client
from clients.local_training import LocalTraining

__all__ = [
    "ADVERSARY",
    "Abstention",
    "Adversary",
    "Attack",
    "BenignClient",
    "LocalTraining",
    "boost",
    "initial_model",
    "make_client",
]
