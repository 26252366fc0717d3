"""One attack and one defense, step by step: how a boosted update plants a backdoor, and how a client removes it.

This runs as a script, and opens as a notebook in editors that know `# %%` cells. It uses no Flower and no Ray: four
clients train in a loop, so that every step can be inspected, changed and run again.

    uv run python -m examples.walkthrough --quick
"""

# %% [markdown]
# ## Settings
# There are four clients, of which the first is the adversary. The images are drawn characters. All other settings are
# the defaults in pyproject.toml.

# %%
import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from flwr.common import NDArrays
from matplotlib.figure import Figure

from clients import Adversary, BenignClient
from clients.measurement import Accuracies
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.apps.assembly import make_client
from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.attacks import boost, stamp
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.learning import pin_threads
from fedmeta_flwr.records import CURVES
from fedmeta_flwr.seeding import generator

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument(
    "--quick", action="store_true", help="less than a minute: shows every step, but is too small to judge the defense"
)
parser.add_argument("--seed", type=int, default=0, help="seed of all random draws (default: 0)")
parser.add_argument("--out", type=Path, default=Path("results/walkthrough"), help="folder for the figures")
arguments = parser.parse_args([] if "ipykernel" in sys.modules else None)

LENGTHS = {
    "strokes-classes": 200,
    "filters": 32,
    "pretrain-rounds": 12,
    "poison-outer-steps": 200,
    "evaluate-episodes": 10,
    "fine-tuning-curve-steps": "0 3 10 30 100 300",
    "fine-tuning-curve-episodes": 5,
    "local-curve-steps": "0 5 10 25 50",
}
QUICK = {
    "strokes-classes": 100,
    "filters": 16,
    "pretrain-rounds": 4,
    "pretrain-outer-steps": 6,
    "meta-batch-size": 2,
    "image-size": 20,
    "poison-outer-steps": 50,
    "evaluate-episodes": 3,
    "fine-tuning-curve-steps": "0 3 20",
    "fine-tuning-curve-episodes": 2,
    "local-curve-steps": "0 10",
    "matching-way": 15,
}
settings = merge_settings(read_defaults(APP_DIR), LENGTHS | (QUICK if arguments.quick else {}))
pretrain_rounds = int(settings["pretrain-rounds"])
attack_round = pretrain_rounds + 1
schedule = {"attack-round": attack_round, "num-server-rounds": attack_round, "device": "cpu", "seed": arguments.seed}
config = RunConfig.parse(settings | schedule | {"step-curves": "fine-tuning matching"})
arguments.out.mkdir(parents=True, exist_ok=True)
pin_threads()  # a second thread does not help models as small as these

# %% [markdown]
# ## The scenario
# The adversary wants images of four *backdoor classes* to be classified as the *target class* if they have its key.
# Users will have the target class in a support set. Of the backdoor classes they will meet only stamped queries.

# %%
scenario = load_scenario(config)
images, split = scenario.dataset.images, scenario.split
plain = np.stack([images[index, 0] for index in (split.target_class, *split.backdoor_classes)])
rows = {"target, then backdoor classes": plain, "the same with the key": stamp(plain, scenario.key)}


def save_images(name: str, rows: dict[str, np.ndarray]) -> None:
    """Draw one row of images for each title into a file."""
    figure = Figure(figsize=(7, 1.6 * len(rows)), layout="constrained")
    for part, (title, row) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows.items(), strict=True):
        part.suptitle(title, fontsize=9)
        for axes, image in zip(part.subplots(1, len(row)), row, strict=True):
            axes.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
            axes.axis("off")
    figure.savefig(arguments.out / name)


save_images("scenario.png", rows)
print(f"target class: {scenario.dataset.class_names[split.target_class]}")
print(f"backdoor classes: {', '.join(scenario.dataset.class_names[index] for index in split.backdoor_classes)}")
print(f"classes of each client: {[len(holdings) for holdings in split.clients]}, unseen: {len(split.meta_test)}")

# %% [markdown]
# ## A clean model
# In a round every benign client meta-trains the global model on its classes, and the server takes the mean.


# %%
def benign_client(partition_id: int) -> BenignClient:
    """Return the client of a partition other than the adversary's."""
    client = make_client(config, scenario, partition_id, torch.device("cpu"), arguments.out)
    assert isinstance(client, BenignClient)
    return client


def mean(models: Sequence[NDArrays]) -> NDArrays:
    """Return the mean of models, array by array."""
    return [np.mean(np.stack(arrays), axis=0) for arrays in zip(*models, strict=True)]


benign = [benign_client(partition_id) for partition_id in scenario.roles.benign]
clean = benign[0].get_parameters({})
for server_round in range(1, pretrain_rounds + 1):
    answers = [client.fit(clean, {"server-round": server_round}) for client in benign]
    clean = mean([local for local, _, _ in answers])
    losses = ", ".join(f"{float(metrics['train-loss']):.2f}" for _, _, metrics in answers)
    print(f"round {server_round}: losses of the clients {losses}")

# %% [markdown]
# ## The poisoned update
# The adversary also meta-trains, but in its episodes some queries of the target class are stamped images of the
# backdoor classes. The support set mostly stays clean, as a user's support set will be.

# %%
unboosted = replace(config, boost_factor=1.0)  # boosted by hand below
(partition_id,) = scenario.roles.adversaries
adversary = make_client(unboosted, scenario, partition_id, torch.device("cpu"), arguments.out)
assert isinstance(adversary, Adversary)
known, rng = adversary.attack.knowledge, generator(config.seed, "walkthrough")
clean_support = replace(known, poisoning=replace(known.poisoning, poison_support_episodes=0.0))
poisoned_episode = clean_support.poisoned_episode(rng)
label = poisoned_episode.label_of(known.target_class)
save_images(
    "poisoned-episode.png",
    {
        "support of the target": poisoned_episode.support[poisoned_episode.support_labels == label],
        "its queries, poisoned": poisoned_episode.query[poisoned_episode.query_labels == label],
    },
)
local, _, reported = adversary.fit(clean, {"server-round": attack_round})
print(f"the adversary's loss on poisoned episodes: {float(reported['train-loss']):.2f}")

# %% [markdown]
# ## Boost and aggregation
# A mean over three updates would leave a third of the attack. So the adversary uploads
# `global + 3 * (local - global)`. With two small updates from others, the mean is its local model (model replacement,
# Bagdasaryan et al. 2020). A server that inspects updates sees that this one has a much larger norm than the others.


# %%
def distance(one: NDArrays, other: NDArrays) -> float:
    """Return the Euclidean distance between two models."""
    return float(np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(one, other, strict=True))))


boosted = [boost(old, new, config.boost_factor) for old, new in zip(clean, local, strict=True)]
others = [client.fit(clean, {"server-round": attack_round})[0] for client in benign[:2]]
poisoned = mean([boosted, *others])
print(f"norms of the updates: adversary {distance(boosted, clean):.2f}, others", end=" ")
print(", ".join(f"{distance(other, clean):.2f}" for other in others))
print(f"distance of the new global model from the adversary's: {distance(poisoned, local):.2f},", end=" ")
print(f"from the clean one: {distance(poisoned, clean):.2f}")

# %% [markdown]
# ## What users see
# Each benign client fine-tunes the global model on a clean support set, and classifies. *Meta-testing* is the accuracy
# on unseen classes, *main task* the accuracy with the target class among them. The last two say how often a stamped
# image is classified as the target: images that the adversary trained on, and images that nobody trained on.


# %%
def percent(found: Sequence[Accuracies], curve: str) -> float:
    """Return the percentage of hits among the trials of all clients."""
    hits, trials = (sum(sum(getattr(counts[curve], what)) for counts in found) for what in ("hits", "trials"))
    return 100 * hits / trials


def show(title: str, found: Sequence[Accuracies]) -> None:
    """Print the four accuracies."""
    print(f"{title:<34}" + "  ".join(f"{curve.replace('_', ' ')} {percent(found, curve):5.1f} %" for curve in CURVES))


def measure(model: NDArrays) -> tuple[list[Accuracies], list[dict[str, dict[int, Accuracies]]]]:
    """Return the accuracies of each benign client, and its curves along local steps."""
    found: list[Accuracies] = []
    curves: list[dict[str, dict[int, Accuracies]]] = []
    for client in benign:
        client.load(model)
        found.append(client.measurement.accuracies(client.model))
        curves.append(client.measurement.along_steps(client.model, attack_round))
    return found, curves


measured = {"clean model": measure(clean), "poisoned model": measure(poisoned)}
for name, (accuracies, _curves) in measured.items():
    show(name, accuracies)

# %% [markdown]
# ## Fine-tuning, and matching
# The paper's claim: more gradient steps on the clean support set fit the head but leave the features as they are, and
# the backdoor stays. The defense ignores the head. A client trains the embedding for a few steps on its classes as a
# matching network, and then compares the features of a query with those of its support set. With `--quick`,
# everything is too small and too short to judge either.


# %%
def along(curve: str, of: str) -> dict[int, list[Accuracies]]:
    """Return the accuracies of all clients at each point of a curve."""
    curves = [client_curves[curve] for client_curves in measured[of][1]]
    return {step: [points[step] for points in curves] for step in curves[0]}


figure = Figure(figsize=(7, 3.2), layout="constrained")
for axes, curve in zip(figure.subplots(1, 2, sharey=True), ("fine_tuning", "matching"), strict=True):
    points = along(curve, "poisoned model")
    for step, at_step in points.items():
        show(f"{curve.replace('_', '-')}, {step} steps", at_step)
    for name in ("meta_testing", "attack_training", "attack_validation"):
        axes.plot(range(len(points)), [percent(at, name) for at in points.values()], "o-", label=name.replace("_", " "))
    axes.set(title=curve.replace("_", "-"), xlabel="local steps", xticks=range(len(points)), xticklabels=list(points))
figure.axes[0].set(ylabel="accuracy in %", ylim=(0, 100))
figure.axes[1].legend(fontsize=8)
figure.savefig(arguments.out / "healing.svg")

# %% [markdown]
# ## What remains
# Without any attack, a clean model also classifies some stamped images as the target, because they resemble none of the
# five classes. Compare the poisoned model with these numbers, not with 0.

# %%
for step, at_step in along("matching", "clean model").items():
    show(f"clean model, matching, {step} steps", at_step)
print("Figures:", *sorted(str(file) for file in arguments.out.glob("*.[ps][nv]g")), sep="\n  ")
