"""What happens in which round of a run."""

IN_TURN, TOGETHER = "in-turn", "together"
"""The value of the setting ``attack-order`` with which adversaries attack one after the other."""


def attackers(
    server_round: int, *, attack_round: int, attack_interval: int, attack_order: str, num_adversaries: int
) -> tuple[int, ...]:
    """Return which adversaries attack in a round: their places among all adversaries, ascending, from 0.

    The other arguments are the attributes of `Schedule`.
    """
    if attack_round == 0 or server_round < attack_round:
        return ()
    since = server_round - attack_round
    if attack_interval > 0:
        since %= attack_interval
    if since >= attack_length(attack_order, num_adversaries):
        return ()
    return (since,) if attack_order == IN_TURN else tuple(range(num_adversaries))


def attack_length(attack_order: str, num_adversaries: int) -> int:
    """Return the number of rounds of one attack: one for each adversary if they attack in turn, otherwise 1."""
    return num_adversaries if attack_order == IN_TURN else 1


class Schedule:
    """What happens in each round, as the settings define it; rounds are counted from 1.

    Attributes
    ----------
    num_server_rounds, pretrain_rounds : int
        Total number of rounds, and number of pre-training rounds, which come first.
    attack_round, attack_interval : int
        Round of the first attack (0: no attack), and rounds from one attack to the next (0: only one attack).
    attack_order : str
        ``"together"``: all adversaries attack in each of these rounds. ``"in-turn"``: an attack is a sequence of rounds
        that begins with such a round; in each of them one adversary attacks.
    num_adversaries : int
        Number of adversaries.
    pretrain_outer_steps, outer_steps : int
        Outer steps of a benign client in a pre-training round, and in any other round.
    evaluate_every, pretrain_evaluate_every : int
        Rounds between evaluations after pre-training and during it; 0: never.
    """

    num_server_rounds: int
    pretrain_rounds: int
    attack_round: int
    attack_interval: int
    attack_order: str
    num_adversaries: int
    pretrain_outer_steps: int
    outer_steps: int
    evaluate_every: int
    pretrain_evaluate_every: int

    def is_attack(self, server_round: int) -> bool:
        """Return whether any adversary attacks in this round."""
        return bool(self.attackers(server_round))

    def attackers(self, server_round: int) -> tuple[int, ...]:
        """Return which adversaries attack in this round; see the function of this name."""
        return attackers(
            server_round,
            attack_round=self.attack_round,
            attack_interval=self.attack_interval,
            attack_order=self.attack_order,
            num_adversaries=self.num_adversaries,
        )

    def is_attacker(self, place: int, server_round: int) -> bool:
        """Return whether the adversary at a place among all adversaries, from 0, attacks in this round."""
        return place in self.attackers(server_round)

    @property
    def first_attack(self) -> range:
        """The rounds of the first attack; empty without an attack."""
        length = attack_length(self.attack_order, self.num_adversaries) if self.attack_round else 0
        return range(self.attack_round, self.attack_round + length)

    def is_evaluated(self, server_round: int) -> bool:
        """Return whether clients evaluate after this round.

        Besides the regular rounds, these are the last round, every attack round, and the round before the first attack,
        which is the clean baseline.
        """
        if self.evaluate_every == 0:
            return False
        if server_round in (self.num_server_rounds, self.attack_round - 1) or self.is_attack(server_round):
            return True
        if server_round <= self.pretrain_rounds:
            return self.pretrain_evaluate_every > 0 and server_round % self.pretrain_evaluate_every == 0
        return (server_round - self.pretrain_rounds) % self.evaluate_every == 0

    def phase(self, server_round: int) -> str:
        """Return ``"pretrain"``, ``"attack"`` or ``"benign"``."""
        if self.is_attack(server_round):
            return "attack"
        return "pretrain" if server_round <= self.pretrain_rounds else "benign"

    def has_step_curves(self, server_round: int) -> bool:
        """Return whether curves along local steps are measured after this round.

        They are measured right before the first attack and after its last round; without an attack, after the last
        round of the run.
        """
        if not self.first_attack:
            return server_round == self.num_server_rounds
        return server_round in (self.attack_round - 1, self.first_attack[-1])

    def benign_outer_steps(self, server_round: int) -> int:
        """Return the outer steps of a benign client in this round."""
        return self.pretrain_outer_steps if server_round <= self.pretrain_rounds else self.outer_steps
