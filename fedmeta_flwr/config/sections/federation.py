"""The settings of the federation."""

from dataclasses import dataclass

from fedmeta_flwr.config.setting import name_of, options_of, setting


@dataclass(frozen=True, kw_only=True)
class FederationSettings:
    """Clients, rounds, and how updates become a new global model."""

    num_clients: int = setting("Number of clients; the first ones (from partition 0) are the adversaries.", minimum=2)
    num_adversaries: int = setting("Number of colluding adversaries among the clients.", minimum=1, absent=1)
    quorum: int = setting("Number of updates after which the server aggregates.", minimum=1)
    num_server_rounds: int = setting("Number of rounds, pre-training and attack included.", minimum=1)
    pretrain_rounds: int = setting(
        "Number of pre-training rounds, which come first and have `pretrain-outer-steps` outer steps.", minimum=0
    )
    client: str = name_of("client", "What benign clients do; built-in: depends on `defense`.", absent="built-in")
    client_options: str = options_of("client")
    adversary: str = name_of("adversary", "What an adversary does.", absent="built-in")
    adversary_options: str = options_of("adversary")
    strategy: str = name_of("strategy", "How updates become a new global model: the name of a Flower strategy.")
    strategy_options: str = options_of("strategy")
    weighting: str = setting(
        "Weight of an update in a mean: uniform, or the number of examples that the client reports "
        "(an adversary can inflate it).",
        choices=("uniform", "num-examples"),
    )
    arrival_model: str = name_of(
        "arrival-model", "What decides who arrives first: a seeded latency model (reproducible) or the wall clock."
    )
    arrival_model_options: str = options_of("arrival-model")
    latency_median_seconds: float = setting("Median of a client's simulated latency.", above=0)
    latency_sigma: float = setting("Spread of the log-normal latency (standard deviation of its log).", minimum=0)
    adversary_arrives_first: bool = setting(
        "Whether an adversary's latency is 0, whatever it computes; no effect with arrival-model = wall-clock."
    )
    late_updates: str = setting(
        "What happens to updates after the quorum; next-round: such an update counts in the round in which it arrives, "
        "as the difference from the model that it started from.",
        choices=("drop", "next-round"),
    )
    messages_in_flight: int = setting(
        "Largest number of pending messages; at least the number of nodes that compute at the same time.",
        minimum=1,
        is_free=True,
    )
    registration_timeout_seconds: float = setting(
        "Longest wait for all clients' nodes to register.", above=0, is_free=True
    )
    round_timeout_seconds: float = setting(
        "Longest wait for a client's reply, from the time of the request.", above=0, is_free=True
    )
    max_num_examples: int = setting("Largest number of examples that a client may report.", minimum=1)
    max_update_norm: float = setting(
        "Largest Euclidean norm of an update that is aggregated; 0: any. Unlike the other checks of a reply, it "
        "concerns what a client learned.",
        minimum=0,
    )
