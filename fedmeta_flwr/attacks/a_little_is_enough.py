"""A little is enough: an untargeted attack that stays within the spread of benign updates (Baruch et al. 2019)."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from fedmeta_flwr.attacks.base import Turn
from fedmeta_flwr.attacks.knowledge import Arrays, Knowledge
from fedmeta_flwr.attacks.simulation import mean, norm
from fedmeta_flwr.attacks.untargeted import UntargetedAttack, deviation, minus, moved

_GRID = 41


class ALittleIsEnough(UntargetedAttack):
    """Upload the mean of benign updates minus z times their standard deviation.

    The paper's z is Phi^-1((n - f - s) / (n - f)) with s = floor(n / 2 + 1) - f, where n is the quorum: so few benign
    updates are farther from the mean that the attackers' are in the majority with the others. With few clients, z is 0
    or negative: at this size, there is no attack. It then goes on with this z (0 if it is infinite), and `remark` says
    so.

    Source: Baruch, Baruch & Goldberg 2019, "A little is enough: circumventing defenses for distributed learning".

    Parameters
    ----------
    knowledge, simulated_clients
        As in `UntargetedAttack`; at least 2 updates.
    z : float, optional
        Set instead of the paper's.
    search : bool
        Whether z is instead the one of a grid from 0 to `largest_z` that displaces the aggregate most under the run's
        rule: that of q - f simulated benign updates and f times the upload, from the mean of the benign ones. A rule
        with a state begins anew.
    largest_z : float
        End of the grid, above 0.

    Raises
    ------
    ValueError
        If the attackers are so many that the paper's z is infinite, or if the rule of the run cannot be tried.
    """

    fewest_clients = 2

    def __init__(
        self,
        knowledge: Knowledge,
        z: float | None = None,
        search: bool = False,
        largest_z: float = 10.0,
        simulated_clients: int = 0,
    ) -> None:
        super().__init__(knowledge, simulated_clients)
        public = knowledge.public
        self.adversaries = min(len(public.roles.adversaries), public.quorum)
        self.search, self.largest_z = search, largest_z
        self._paper_z = paper_z(public.quorum, self.adversaries)
        self.z = (self._paper_z if np.isfinite(self._paper_z) else 0.0) if z is None else z
        if search:
            self._require_search(z)
        elif z is None and self._paper_z == np.inf:
            raise ValueError(
                f"a-little-is-enough: expected fewer adversaries, or an option z or search, where {self.adversaries} "
                f"of {public.quorum} updates are the adversaries', found none"
            )
        self._is_paper_z = z is None and not search

    @property
    def remark(self) -> str:
        """What is said if the paper's z is in use, and is 0 or negative; otherwise empty."""
        if not self._is_paper_z or self._paper_z > 0:
            return ""
        return (
            f"a-little-is-enough: no attack at this size: z is {self._paper_z:.2f} for {self.adversaries} adversaries "
            f"in a quorum of {self.knowledge.public.quorum}; set the option z or search"
        )

    def combine(self, updates: Sequence[Arrays], turn: Turn) -> Arrays:
        """Return mean - z * standard deviation."""
        return minus(mean(updates), deviation(updates), self._found(updates, turn) if self.search else self.z)

    def _found(self, updates: Sequence[Arrays], turn: Turn) -> float:
        """Return the z that displaces the aggregate most; the smallest of several."""
        aggregate = self.knowledge.public.aggregate
        assert aggregate is not None, "checked when the attack is made"
        start, benign = turn.global_arrays, updates[: self.knowledge.public.quorum - self.adversaries]
        middle, dev = mean(updates), deviation(updates)
        models = [moved(start, update) for update in benign]
        expected = moved(start, mean(benign or updates))

        def displacement(z: float) -> float:
            found = aggregate([*models, *[moved(start, minus(middle, dev, z))] * self.adversaries], start)
            return norm({name: found[name] - array for name, array in expected.items()})

        grid = [float(z) for z in np.linspace(0, self.largest_z, _GRID)]
        return max(grid, key=displacement)

    def _require_search(self, z: float | None) -> None:
        public = self.knowledge.public
        if z is not None or not 0 < self.largest_z < np.inf:
            raise ValueError(
                f"a-little-is-enough: expected either z or search, with largest_z above 0, found z = {z} and "
                f"largest_z = {self.largest_z}"
            )
        if public.aggregate is None:
            raise ValueError("a-little-is-enough: expected a rule that can be tried for search, found none")
        if self.simulated_clients < public.quorum - self.adversaries:
            raise ValueError(
                f"a-little-is-enough: expected simulated_clients of at least {public.quorum - self.adversaries} for "
                f"search, found {self.simulated_clients}"
            )


def paper_z(updates: int, adversaries: int) -> float:
    """Return z of Baruch et al. 2019 for some of `updates`; at 0 or below there is no attack at this size.

    It is infinite if the adversaries are so many that they need no benign update for a majority, and minus infinity if
    they need all of them.
    """
    benign = updates - adversaries
    needed = updates // 2 + 1 - adversaries
    if needed <= 0 or benign <= 0:
        return np.inf
    share = (benign - needed) / benign
    return NormalDist().inv_cdf(share) if share > 0 else -np.inf
