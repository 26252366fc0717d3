"""The same computations in plain PyTorch, as simply as possible, for comparison with the project's code.

Runs use nothing in this module. A test compares the updates and the counts of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Task:
    """An episode as tensors: images (rows, channels, height, width) and labels (rows,)."""

    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor


@dataclass(frozen=True)
class Recipe:
    """What is computed: `pooling` or stride 2, first or second order, and what normalises a query."""

    pooling: bool
    second_order: bool
    batch_norm: str
    lr: float
    steps: int


def logits(parameters: Sequence[Tensor], images: Tensor, pooling: bool, reference_rows: int | None = None) -> Tensor:
    """Return the network's logits; parameters in the order of ``Classifier.parameters()``."""
    *blocks, head_weight, head_bias = parameters
    for weight, scale, shift in zip(blocks[0::3], blocks[1::3], blocks[2::3], strict=True):
        images = functional.conv2d(images, weight, stride=1 if pooling else 2, padding=1)
        if reference_rows is None:
            images = functional.batch_norm(images, None, None, scale, shift, training=True)
        else:
            mean = images[:reference_rows].mean((0, 2, 3), keepdim=True)
            variance = images[:reference_rows].var((0, 2, 3), unbiased=False, keepdim=True)
            images = (images - mean) / torch.sqrt(variance + 1e-5) * scale[:, None, None] + shift[:, None, None]
        images = functional.relu(images)
        if pooling:
            images = functional.max_pool2d(images, 2)
    return functional.linear(images.flatten(1), head_weight, head_bias)


def query_logits(parameters: Sequence[Tensor], support: Tensor, query: Tensor, recipe: Recipe) -> Tensor:
    """Return the logits of a query batch."""
    if recipe.batch_norm == "transductive":
        return logits(parameters, query, recipe.pooling)
    rows = len(support)
    return logits(parameters, torch.cat([support, query]), recipe.pooling, rows)[rows:]


def adapt(parameters: Sequence[Tensor], task: Task, recipe: Recipe, steps: int) -> list[Tensor]:
    """Return the parameters after some steps of gradient descent on the support set."""
    adapted = list(parameters)
    for _ in range(steps):
        loss = functional.cross_entropy(logits(adapted, task.support, recipe.pooling), task.support_labels)
        gradients = torch.autograd.grad(loss, adapted, create_graph=recipe.second_order)
        adapted = [old - recipe.lr * gradient for old, gradient in zip(adapted, gradients, strict=True)]
        if not recipe.second_order:
            adapted = [value.detach().requires_grad_() for value in adapted]
    return adapted


def update(
    parameters: Sequence[Tensor],
    meta_batches: Sequence[Sequence[Task]],
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Meta-train the parameters in place, one outer step for each meta-batch."""
    for tasks in meta_batches:
        optimizer.zero_grad()
        for task in tasks:
            adapted = adapt(parameters, task, recipe, recipe.steps)
            loss = functional.cross_entropy(query_logits(adapted, task.support, task.query, recipe), task.query_labels)
            gradients = torch.autograd.grad(loss, parameters if recipe.second_order else adapted)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                part = gradient / len(tasks)
                parameter.grad = part if parameter.grad is None else parameter.grad + part
        optimizer.step()


def count_hits(
    parameters: Sequence[Tensor],
    task: Task,
    queries: Sequence[tuple[Tensor, Tensor]],
    recipe: Recipe,
    steps: Sequence[int],
) -> list[list[int]]:
    """Fine-tune on a task's support set, and count right answers in each query batch at each number of steps."""
    hits, done = [], 0
    adapted = [value.detach().clone().requires_grad_() for value in parameters]
    for wanted in steps:
        adapted = adapt(adapted, task, recipe, wanted - done)
        done = wanted
        with torch.no_grad():
            predicted = [query_logits(adapted, task.support, images, recipe).argmax(1) for images, _ in queries]
        hits.append([int((found == labels).sum()) for found, (_, labels) in zip(predicted, queries, strict=True)])
    return hits
