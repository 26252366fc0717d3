"""The core of a federated meta-learning attack and its local defense, as a Flower App."""
