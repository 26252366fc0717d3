"""The embedding view: support features and stamped queries in two dimensions, poisoned model against defended one."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from plotly import graph_objects as go
from torch.nn import functional

from experiments.analysis.report.absence import AbsentError
from experiments.analysis.report.episodes import STAMPED, letter, queries_of
from experiments.analysis.report.plots import Plot, Table, spec_of
from experiments.analysis.report.witness import Witness
from fedmeta_flwr.learning import Attention, EvaluationPlan, MatchingNetwork, ask, support_of

_LABEL_COLORS = ("#0072B2", "#009E73", "#B87900", "#2E8BC0", "#CC79A7", "#8C6D31", "#7F7F7F")
_TARGET_COLOR = "#D55E00"
_STAMPED_NAMES = {curve: f"stamped query, {curve.replace('_', ' ')}" for curve in STAMPED}
_SYMBOLS = {"attack_training": "cross", "attack_validation": "x"}
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Projection:
    """Features of one episode under one model, projected.

    Attributes
    ----------
    points : mapping of str to np.ndarray
        ``support``, ``attack_training``, ``attack_validation`` to shape (rows, 2).
    labels : np.ndarray
        Of the support rows.
    shares : tuple of float
        Of the variance, along each of the two directions.
    similarity : tuple of float
        Mean cosine similarity of the stamped queries to the target's support images, and to the others'.
    """

    points: Mapping[str, np.ndarray]
    labels: np.ndarray
    shares: tuple[float, float]
    similarity: tuple[float, float]


def undefended_network(witness: Witness) -> MatchingNetwork:
    """Return the poisoned embedding as it was received, with an attention that weighs all features alike."""
    embedding = getattr(witness.after.model, "embedding", None)
    if embedding is None:
        raise AbsentError(f"the clients' model, a {type(witness.after.model).__name__}, has no part named embedding")
    return MatchingNetwork(embedding, Attention(embedding.features, witness.config.matching_temperature))


def project(plan: EvaluationPlan, network: MatchingNetwork, number: int) -> Projection:
    """Project the features that matching compares, of one of the client's episodes with the target class.

    Parameters
    ----------
    plan : EvaluationPlan
        The client's.
    network : MatchingNetwork
        Whose embedding and attention; put into evaluation mode.
    number : int
        Of the episode.
    """
    network.eval()
    episode = plan.attacked_episode(number)
    support = support_of(episode, _CPU)
    asked = {name: batch.images for name, batch in queries_of(plan, episode).items()}
    rows = ask(plan, partial(_query_features, network, support.images, plan.batch_norm), asked)
    with torch.no_grad():
        rows["support"] = network.features(support.images, asked["main_task"], plan.batch_norm)[0]
    unit = {
        name: functional.normalize(found.detach() * _weight(network)).numpy()
        for name, found in rows.items()
        if name != "main_task"
    }
    points, shares = pca(unit)
    is_target = episode.support_labels == episode.label_of(plan.split.target_class)
    cosines = np.concatenate([unit[name] for name in STAMPED]) @ unit["support"].T
    similarity = float(cosines[:, is_target].mean()), float(cosines[:, ~is_target].mean())
    return Projection(points, episode.support_labels, shares, similarity)


def _weight(network: MatchingNetwork) -> torch.Tensor:
    """Return the learned weight of each feature; 1 for a custom attention."""
    attention = network.attention
    return attention.weight.detach() if isinstance(attention, Attention) else torch.ones(())


def _query_features(
    network: MatchingNetwork, support: torch.Tensor, batch_norm: str, queries: torch.Tensor
) -> torch.Tensor:
    return network.features(support, queries, batch_norm)[1]


def pca(parts: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[float, float]]:
    """Project rows onto the two directions of largest variance.

    Parameters
    ----------
    parts : mapping of str to np.ndarray
        Shape (rows, features) each, 3 rows in all at least.

    Returns
    -------
    dict of str to np.ndarray
        Shape (rows, 2) each. A direction points to where its longest weight is positive, so that it is unique.
    tuple of float
        The shares of the variance, in 0..1.
    """
    together = np.concatenate(list(parts.values())).astype(np.float64)
    centred = together - together.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    first = directions[:2]
    signs = np.sign(first[np.arange(2), np.abs(first).argmax(axis=1)])
    projected = centred @ (first * signs[:, None]).T
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    variance = sizes**2 / max(float((sizes**2).sum()), np.finfo(float).tiny)
    return dict(zip(parts, np.split(projected, ends), strict=True)), (float(variance[0]), float(variance[1]))


def projection_plot(projection: Projection, title: str, target: int) -> Plot:
    """Return a projection as a plot; `target` is the target's label in the episode."""
    others = iter(_LABEL_COLORS * 4)
    traces = []
    for label, name in _label_names(projection, target):
        color = _TARGET_COLOR if label == target else next(others)
        rows = projection.points["support"][projection.labels == label]
        traces.append(_cloud(rows, name, "star" if label == target else "circle", color, 13 if label == target else 9))
    traces += [
        _cloud(projection.points[name], _STAMPED_NAMES[name], symbol, None, 7) for name, symbol in _SYMBOLS.items()
    ]
    axis = {
        "showticklabels": False,
        "zeroline": False,
        "showgrid": False,
        "showline": True,
        "mirror": True,
        "ticks": "",
    }
    first, second = (f"{100 * share:.0f} % of the variance" for share in projection.shares)
    spec = spec_of(
        traces,
        title=title,
        height=380,
        xaxis={**axis, "title": {"text": first, "standoff": 6}},
        yaxis={**axis, "title": {"text": second, "standoff": 4}},
        hovermode="closest",
    )
    spec["layout"] |= {
        "showlegend": True,
        "legend": {"orientation": "h", "y": -0.12, "yanchor": "top", "font": {"size": 11}},
        "margin": {"l": 30, "r": 12, "t": 34, "b": 110},
    }
    near, far = projection.similarity
    text = (
        f"{title}: stamped queries have a mean cosine similarity of {near:.2f} to the target's support images, "
        f"and of {far:.2f} to the other labels'."
    )
    return Plot(spec, text, _table(projection, title, target))


def _cloud(rows: np.ndarray, name: str, symbol: str, color: str | None, size: int) -> go.Scatter:
    marker = {"symbol": symbol, "size": size, "opacity": 0.85}
    return go.Scatter(
        x=[round(float(x), 4) for x in rows[:, 0]],
        y=[round(float(y), 4) for y in rows[:, 1]],
        mode="markers",
        name=name,
        marker=marker | ({"color": color} if color else {}),
        meta=None if color else "ink",
        hovertemplate=f"{name}<extra></extra>",
    )


def _label_names(projection: Projection, target: int) -> list[tuple[int, str]]:
    labels = range(int(projection.labels.max()) + 1)
    return [(label, f"support, {letter(label)}{' (target)' if label == target else ''}") for label in labels]


def _table(projection: Projection, title: str, target: int) -> Table:
    groups = {
        name: projection.points["support"][projection.labels == at] for at, name in _label_names(projection, target)
    }
    groups |= {text: projection.points[name] for name, text in _STAMPED_NAMES.items()}
    rows = tuple((name, *_place(points.mean(axis=0))) for name, points in groups.items())
    return Table(f"{title}: centres of the groups", ("group", "first direction", "second direction"), rows)


def _place(centre: np.ndarray) -> tuple[str, str]:
    return f"{centre[0]:.3f}", f"{centre[1]:.3f}"
