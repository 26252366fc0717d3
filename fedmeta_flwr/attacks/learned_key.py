"""Learned key: the attacker chooses the key's colours so that the present global model mistakes stamped images.

It follows A3FL (Zhang et al. 2023), PFedBA (Lyu et al. 2024) and Bad-PFL (Fan et al. 2025), which learn a trigger
before they train. Here the attack loss is lowered; the place of the key stays as it is.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedmeta_flwr.attacks.base import LayeredAttack, Turn, Upload
from fedmeta_flwr.attacks.key import BackdoorKey
from fedmeta_flwr.attacks.knowledge import Knowledge
from fedmeta_flwr.attacks.stamping import held_images
from fedmeta_flwr.data import Episode
from fedmeta_flwr.learning import Adapt, query_of, support_of, to_batch, torch_draws


class LearnedKey(LayeredAttack):
    """Learn the colours of the key at the global model, then do as model replacement does, with this key.

    The key is learned on clean episodes with the target: the model adapts to the support set with the defense of the
    run, without its local steps, and the colours take a step along the sign of the gradient that lowers the
    cross-entropy of stamped images to the target. Only pixels that the run's key covers are changed; their opacity
    becomes 1. Colours are rounded to integers at the end, as in an image. `Upload.key` is the learned key.

    Several colluders do not share it: each learns its own.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    steps : int
        Steps on the colours, 0 or above, each with a new episode. With 0, this is model replacement.
    rate : float
        Size of a step, as a share of the range of a colour, above 0 and up to 1.
    """

    def __init__(self, knowledge: Knowledge, steps: int = 100, rate: float = 0.01) -> None:
        if steps < 0 or not 0 < rate <= 1:
            raise ValueError(
                f"learned-key: expected steps of 0 or above, and rate above 0 and up to 1, found {steps} and {rate}"
            )
        super().__init__(knowledge)
        self.steps, self.rate = steps, rate

    def local_update(self, turn: Turn) -> Upload:
        """Learn the key, and train on episodes that are poisoned with it."""
        if not self.steps:
            return super().local_update(turn)
        key = self.learned_key(turn)
        return replace(LayeredAttack(self.knowledge.stamping(key)).local_update(turn), key=key)

    def learned_key(self, turn: Turn) -> BackdoorKey:
        """Return the key after all steps at the global model of a round."""
        knowledge, defense = self.knowledge, self.knowledge.public.defense
        model, _ = knowledge.model_with(turn.global_arrays)
        training = knowledge.training
        with torch_draws(training.seed, "learned-key", training.partition_id, turn.server_round):
            network = defense.network(model, knowledge.context)
            adapt = defense.adapt(network, knowledge.context)
            colours, mask = key_tensors(knowledge.key, next(network.parameters()).device)
            for _ in range(self.steps):
                tried = colours.requires_grad_()
                loss = attack_loss(knowledge, adapt, knowledge.clean_episode(turn.rng), tried, mask)
                (slope,) = torch.autograd.grad(loss, tried)
                colours = torch.where(mask > 0, (tried.detach() - self.rate * slope.sign()).clamp(0, 1), tried.detach())
        return _rounded(knowledge.key, colours)


def key_tensors(key: BackdoorKey, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a key's colours in 0..1, shape (channels, height, width), and its mask: 1 where it covers a pixel."""
    dtype = torch.get_default_dtype()
    colours = torch.from_numpy(key.pattern / 255).to(device, dtype)
    return colours, torch.from_numpy(key.opacity > 0).to(device, dtype)


def attack_loss(knowledge: Knowledge, adapt: Adapt, episode: Episode, colours: Tensor, mask: Tensor) -> Tensor:
    """Return the cross-entropy of stamped attack images to the target, differentiable with respect to the colours.

    Parameters
    ----------
    knowledge : Knowledge
        The attack images, and how a batch is normalised.
    adapt : Adapt
        Adapts a network to a support set.
    episode : Episode
        A clean episode that contains the target.
    colours, mask : Tensor
        As returned by `key_tensors`.
    """
    device = colours.device
    images = held_images(knowledge.training.images, knowledge.backdoor)
    label = episode.label_of(knowledge.target_class)
    batch = to_batch(images, np.full(len(images), label), device)
    stamped = batch.images * (1 - mask) + colours * mask
    predict = next(iter(adapt(support_of(episode, device))))
    # A transductive prediction depends on its batch: as in an evaluation, clean queries are in it.
    clean = query_of(episode, device).images if knowledge.context.inner.batch_norm == "transductive" else stamped[:0]
    predicted = predict(torch.cat([clean, stamped]))[len(clean) :]
    return functional.cross_entropy(predicted, batch.labels)


def _rounded(key: BackdoorKey, colours: Tensor) -> BackdoorKey:
    """Return a key with these colours, as integers, where `key` covers a pixel; its opacity is 1 there."""
    covered = key.opacity > 0
    learned = np.rint(colours.detach().cpu().numpy() * 255).astype(np.float32)
    return BackdoorKey(np.where(covered, learned, key.pattern), covered.astype(np.float32))
