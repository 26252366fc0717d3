"""Defenses that drop the classifier head, and match a query's features with those of the client's support set.

Source: Chen, Golubchik & Paolieri 2020, section on the local defense; see `fedmeta_flwr.learning.matching_network`.
"""
