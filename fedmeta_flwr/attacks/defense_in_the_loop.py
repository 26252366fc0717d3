"""The defense in the loop: in every step the attacker simulates a client that defends itself, and attacks the result.

Source: Wen et al. 2022 (Anticipate, arXiv 2210.09305), which looks ahead through other clients' training. Here it looks
ahead through a client's defense.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedmeta_flwr.attacks.alignment import AlignmentTerm
from fedmeta_flwr.attacks.base import LayeredAttack
from fedmeta_flwr.attacks.differentiable_steps import differentiable_stages, log_probabilities
from fedmeta_flwr.attacks.layers.base import Layer, OuterStep
from fedmeta_flwr.attacks.objective import AttackEpisode, CleanMatching, add_gradients, names_of, require_weight
from fedmeta_flwr.attacks.simulation import benign_updates, mean
from fedmeta_flwr.defenses import Defense, LocalContext, make_defense
from fedmeta_flwr.learning import MatchingNetwork, plain
from fedmeta_flwr.learning.evaluation import Predict

if TYPE_CHECKING:
    from fedmeta_flwr.attacks.base import Turn
    from fedmeta_flwr.attacks.knowledge import Knowledge

_IMAGES = 10
_MOST_SECOND_ORDER_STEPS = 3
_LARGEST_SEED = 2**31


class SimulatedVictims(Layer):
    """The sum over stages of a simulated defense of the loss of stamped and clean queries, and of the alignment term.

    One client is simulated in each outer step. It starts from what the server would aggregate: with the attacker's
    local model theta, the boost b of all f colluders, a quorum q and the mean D of simulated benign updates, this is
    G + b/q (theta - G) + (q - f)/q D. It trains as the defense does, on newly drawn episodes of the attacker's classes,
    without stamped images. A defense that adapts only to the support set is simulated on the support set of the
    attacked episode. The private part of a defended federation is the attacker's, because others are not known.

    The gradient at a stage is added as if the client's steps did not depend on theta (first order), or is that
    through its steps (second order).

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    defense : Defense
        The defense to simulate.
    steps : sequence of int
        Stages, as numbers of steps: ascending, 0 or above. None: the layer has no effect.
    term : AlignmentTerm
        Added at each stage.
    clean : float
        Weight of the clean queries' loss beside that of the stamped ones, which is -log p(target).
    second_order : bool
        Whether gradients go through the client's steps: for defenses that match, and at most 3 steps.
    """

    model: Any
    rng: np.random.Generator

    def __init__(
        self,
        knowledge: Knowledge,
        defense: Defense,
        steps: Sequence[int],
        term: AlignmentTerm,
        *,
        clean: float = 0.0,
        second_order: bool = False,
    ) -> None:
        self.knowledge, self.defense, self.steps = knowledge, defense, tuple(steps)
        self.term, self.clean, self.second_order = term, require_weight("clean", clean), second_order

    def begin(self, model: Any, turn: Turn) -> None:
        """Simulate a round of benign updates."""
        self.model, self.rng = model, turn.rng
        self.term.begin(model, turn)
        quorum = self.knowledge.public.quorum
        others = max(quorum - self.knowledge.num_attacking, 0)
        benign = mean(benign_updates(self.knowledge, turn, others)) if others and self.steps else {}
        device = next(model.parameters()).device
        self._drift = [others / quorum * torch.from_numpy(part).to(device) for part in benign.values()]

    @property
    def gain(self) -> float:
        """The derivative of the aggregate with regard to the attackers' local model."""
        return self.knowledge.boost_factor / self.knowledge.public.quorum

    def change_gradients(self, step: OuterStep) -> None:
        """Add the gradients at all stages."""
        if not self.steps:
            return
        if self.second_order:
            with plain():
                add_gradients(step.parameters, self._through_steps(step))
            return
        totals = [torch.zeros_like(parameter) for parameter in step.parameters]
        names = names_of(step.parameters, self.model)
        for predict, episode in self._stages(step):
            network = predict.network.requires_grad_()  # type: ignore[attr-defined]
            loss = self.query_loss(predict(self._queries(episode)), episode)
            if self.term.has_effect:
                loss = loss + self.term.loss_in(episode, (self.defense.compared(network) or network).embedding)
            copies = [(total, one) for total, name in zip(totals, names, strict=True) for one in _copies(network, name)]
            gradients = torch.autograd.grad(loss, [one for _, one in copies], allow_unused=True)
            for (total, _), gradient in zip(copies, gradients, strict=True):
                if gradient is not None:
                    total.add_(gradient, alpha=self.gain)
        add_gradients(step.parameters, totals)

    def aggregate(self, step: OuterStep) -> list[Tensor]:
        """Return the shared parameters of the simulated aggregate, as a function of the present ones."""
        drift = self._drift or [torch.zeros_like(start) for start in step.start]
        parts = zip(step.parameters, step.start, drift, strict=True)
        return [start + self.gain * (now - start) + moved for now, start, moved in parts]

    def _stages(self, step: OuterStep) -> Iterator[tuple[Predict, AttackEpisode]]:
        """Yield the prediction function of the simulated client at each stage, with the episode that it adapted to."""
        victim = self._victim(step)
        context = self._new_context()
        if self.defense.local_steps(context) is None:
            episode = self._episode()
            network = self.defense.network(victim, context)
            for predict in self.defense.adapt_in_stages(network, context, self.steps)(episode.support):
                yield predict, episode
            return
        for _, network in self.defense.stages(victim, context, self.steps):
            episode = self._episode()
            yield next(iter(self.defense.adapt(network, context)(episode.support))), episode

    def _victim(self, step: OuterStep) -> nn.Module:
        """Return a copy of the model with the aggregate as its shared part."""
        victim: nn.Module = copy.deepcopy(self.model)
        parameters = dict(victim.named_parameters())
        with torch.no_grad():
            for name, value in zip(names_of(step.parameters, self.model), self.aggregate(step), strict=True):
                parameters[name].copy_(value)
        return victim

    def _new_context(self) -> LocalContext:
        """Return the context of a client with other episodes, on the attacker's classes."""
        context = self.knowledge.context
        seed = int(self.rng.integers(_LARGEST_SEED))
        way = min(context.matching.way, len(self.knowledge.holdings))
        return replace(
            context,
            training=replace(context.training, seed=seed),
            holdings=self.knowledge.holdings,
            matching=replace(context.matching, way=way),
        )

    def _episode(self) -> AttackEpisode:
        return AttackEpisode(self.knowledge, self.rng, _IMAGES, next(self.model.parameters()).device)

    def _queries(self, episode: AttackEpisode) -> Tensor:
        """Return stamped and, if they have a weight, clean queries; a network may normalise them together."""
        return torch.cat([episode.stamped, episode.query.images]) if self.clean else episode.stamped

    def query_loss(self, predicted: Tensor, episode: AttackEpisode) -> Tensor:
        """Return the loss of the queries, given their logits or log-probabilities."""
        stamped = episode.stamped_batch().labels
        loss = functional.cross_entropy(predicted[: len(stamped)], stamped)
        if not self.clean:
            return loss
        return loss + self.clean * functional.cross_entropy(predicted[len(stamped) :], episode.query.labels)

    def _through_steps(self, step: OuterStep) -> tuple[Tensor, ...]:
        context = self._new_context()
        local = self.defense.local_steps(context)
        assert local is not None  # a defense that matches has local steps
        network = self.defense.network(self._victim(step), context)
        assert isinstance(network, MatchingNetwork)
        start = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
        for name, value in zip(names_of(step.parameters, self.model), self.aggregate(step), strict=True):
            if name in start:
                start[name] = value
        batch_norm = context.inner.batch_norm
        stages = differentiable_stages(
            network,
            start,
            lambda: local.training.sample(context.holdings, self.rng),
            steps=self.steps,
            lr=local.lr,
            optimizer=local.training.optimizer,
            batch_norm=batch_norm,
        )
        losses = []
        for parameters in stages:
            episode = self._episode()
            predicted = log_probabilities(network, parameters, episode.support, self._queries(episode), batch_norm)
            losses.append(self.query_loss(predicted, episode))
        return torch.autograd.grad(torch.stack(losses).sum(), list(step.parameters), allow_unused=True)


class DefenseInTheLoop(LayeredAttack):
    """Poisoned local training that looks ahead through a client's defense.

    Without steps and with the other weights 0, it is model replacement.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    steps : sequence of int
        Stages of the simulated client, as numbers of its local steps or of its steps on a support set.
    against : str
        The defense to simulate, as in the setting ``defense``; empty: that of the run, or the rescue if it has none.
    against_options : str
        Its options, a JSON object; empty: those of the run if `against` is empty, and otherwise none.
    alignment, target_anchor, clean_anchor : float
        Weights of `AlignmentTerm` at each stage; first order only.
    clean : float
        Weight of clean queries beside the stamped ones at each stage.
    matching : float
        Weight of `CleanMatching` of the attacker's local model.
    second_order : bool
        Whether gradients go through the client's steps: for defenses that match, and at most 3 steps.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        steps: Sequence[int] = (0, 1, 2, 5, 10),
        *,
        against: str = "",
        against_options: str = "",
        alignment: float = 1.0,
        target_anchor: float = 1.0,
        clean_anchor: float = 1.0,
        clean: float = 1.0,
        matching: float = 1.0,
        second_order: bool = False,
    ) -> None:
        defense = knowledge.public.defense.remedy() if not against else make_defense(against, against_options)
        _require_steps(steps, second_order, defense)
        weights = (0.0, 0.0, 0.0) if second_order else (alignment, target_anchor, clean_anchor)
        term = AlignmentTerm(knowledge, *weights)
        victims = SimulatedVictims(knowledge, defense, steps, term, clean=clean, second_order=second_order)
        super().__init__(knowledge, victims, CleanMatching(knowledge, matching))


def _copies(network: nn.Module, name: str) -> list[nn.Parameter]:
    """Return the parameters of a simulated client that start from one of the model's: of each of its copies."""
    return [one for found, one in network.named_parameters() if found == name or found.endswith(f".{name}")]


def _require_steps(steps: Sequence[int], second_order: bool, defense: Defense) -> None:
    """Raise `ValueError` if the stages are no ascending whole numbers, or second order is not possible."""
    numbers = [step for step in steps if isinstance(step, int) and not isinstance(step, bool) and step >= 0]
    if len(numbers) < len(steps) or numbers != sorted(set(numbers)):
        raise ValueError(f"steps: expected ascending whole numbers from 0, found {list(steps)}")
    if second_order and (max(numbers, default=0) > _MOST_SECOND_ORDER_STEPS or defense.curve is None):
        raise ValueError(
            f"second_order: expected at most {_MOST_SECOND_ORDER_STEPS} steps of a defense that matches, "
            f"found steps {list(steps)}"
        )
