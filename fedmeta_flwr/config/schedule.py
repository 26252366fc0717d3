"""Which round of a run does what."""


class Schedule:
    """What the settings of rounds say of each; rounds are counted from 1.

    Attributes
    ----------
    num_server_rounds, pretrain_rounds, attack_round, attack_interval : int
        Rounds in all, and of pre-training; the round of the first attack (0: none), and rounds from one to the next
        (0: only one).
    pretrain_outer_steps, outer_steps : int
        Outer steps of a benign client in a round of pre-training, and in any other.
    evaluate_every, pretrain_evaluate_every : int
        Rounds between evaluations after pre-training and in it; 0: never.
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
        """Return whether the adversary attacks in this round (counted from 1)."""
        if self.attack_round == 0 or server_round < self.attack_round:
            return False
        since = server_round - self.attack_round
        return since == 0 or (self.attack_interval > 0 and since % self.attack_interval == 0)

    def is_evaluated(self, server_round: int) -> bool:
        """Return whether clients evaluate after this round.

        Beside the regular rounds these are the last one, every attack, and the round before the first attack,
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
        """Return whether curves along local steps are measured after this round: before and right after the attack.

        Without an attack, this is after the last round.
        """
        if self.attack_round == 0:
            return server_round == self.num_server_rounds
        return server_round in (self.attack_round - 1, self.attack_round)

    def benign_outer_steps(self, server_round: int) -> int:
        """Return the outer steps of a benign client in this round."""
        return self.pretrain_outer_steps if server_round <= self.pretrain_rounds else self.outer_steps
