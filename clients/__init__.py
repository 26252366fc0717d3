"""The clients of the federation, as Flower NumPyClients."""

from clients.adversary import Abstention, Adversary
from clients.benign import BenignClient
from clients.defended import DefendedClient

__all__ = [
    "Abstention",
    "Adversary",
    "BenignClient",
    "DefendedClient",
]
