"""The parties of the federation, as Flower NumPyClients."""

from clients.adversary import Abstention, Adversary, Attack, boost
from clients.benign import BenignClient
from clients.defended import DefendedClient
from fedmeta_flwr.apps.assembly import ADVERSARY, initial_arrays, make_client, require_own_clients
from fedmeta_flwr.learning.local_training import LocalTraining

__all__ = [
    "ADVERSARY",
    "Abstention",
    "Adversary",
    "Attack",
    "BenignClient",
    "DefendedClient",
    "LocalTraining",
    "boost",
    "initial_arrays",
    "make_client",
    "require_own_clients",
]
