"""What happens in which round of a run."""


class Schedule:
    """What happens in each round, as the settings define it; rounds are counted from 1.

    Attributes
    ----------
    num_server_rounds, pretrain_rounds : int
        Total number of rounds, and number of pre-training rounds, which come first.
    attack_round, attack_interval : int
        Round of the first attack (0: no attack), and rounds from one attack to the next (0: only one attack).
    pretrain_outer_steps, outer_steps : int
        Outer steps of a benign client in a pre-training round, and in any other round.
    evaluate_every, pretrain_evaluate_every : int
        Rounds between evaluations after pre-training and during it; 0: never.
    """

    num_server_rounds: int
    pretrain_rounds: int
    attack_round: int
    attack_interval: int
    pretrain_outer_steps: int
    outer_steps: int
    evaluate_every: int
    pretrain_evaluate_every: int

    def is_attack(self, server_round: int) -> bool:
        """Return whether the adversaries attack in this round."""
        if self.attack_round == 0 or server_round < self.attack_round:
            return False
        since = server_round - self.attack_round
        return since == 0 or (self.attack_interval > 0 and since % self.attack_interval == 0)

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

        They are measured right before and right after the first attack; without an attack, after the last round.
        """
        if self.attack_round == 0:
            return server_round == self.num_server_rounds
        return server_round in (self.attack_round - 1, self.attack_round)

    def benign_outer_steps(self, server_round: int) -> int:
        """Return the outer steps of a benign client in this round."""
        return self.pretrain_outer_steps if server_round <= self.pretrain_rounds else self.outer_steps
