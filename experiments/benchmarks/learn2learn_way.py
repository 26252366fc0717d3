"""Meta-training as learn2learn's Omniglot example does it: image files, PIL, its transforms, its task sets, its MAML.

What differs from the example makes it no slower: no rotation of classes, and this project's network, in PyTorch's own
modules.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from learn2learn.algorithms import MAML
from learn2learn.data import MetaDataset, TaskDataset
from learn2learn.data.transforms import ConsecutiveLabels, KShots, LoadData, NWays, RemapLabels
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from torchvision import transforms

from experiments.benchmarks.workload import INNER_STEPS, META_BATCH_SIZE, SHOT, WAY, Workload

_FILE_SIDES = {"L": 105, "RGB": 84}  # as Omniglot's and mini-ImageNet's files are


class _ImageFiles(Dataset[tuple[Tensor, int]]):
    """Image files and their classes."""

    def __init__(
        self, files: Sequence[tuple[Path, int]], mode: str, transform: Callable[[Image.Image], Tensor]
    ) -> None:
        self._files = files
        self._mode = mode
        self._transform = transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self._files[index]
        with Image.open(path) as image:
            return self._transform(image.convert(self._mode)), label


@contextmanager
def own_way(workload: Workload, second_order: bool, outer_steps: int) -> Iterator[Callable[[], None]]:
    """Write the images to files, and return a function that does some outer steps from them."""
    channels, side = workload.images.shape[2:4]
    mode = "L" if channels == 1 else "RGB"
    transform = transforms.Compose(
        [transforms.Resize(side, transforms.InterpolationMode.LANCZOS), transforms.ToTensor()]
    )
    with tempfile.TemporaryDirectory(prefix="fedmeta-bench-") as folder:
        dataset = MetaDataset(_ImageFiles(_write(workload, mode, Path(folder)), mode, transform))
        task_transforms = [
            NWays(dataset, WAY),
            KShots(dataset, 2 * SHOT),
            LoadData(dataset),
            RemapLabels(dataset),
            ConsecutiveLabels(dataset),
        ]
        tasks = TaskDataset(dataset, task_transforms=task_transforms, num_tasks=20_000)
        maml = MAML(_network(workload), lr=workload.inner_lr, first_order=not second_order)
        optimizer = torch.optim.Adam(maml.parameters(), 0.001)
        yield lambda: _train(maml, optimizer, tasks, outer_steps)


def _train(maml: Any, optimizer: torch.optim.Optimizer, tasks: Any, outer_steps: int) -> None:
    for _ in range(outer_steps):
        optimizer.zero_grad()
        for _ in range(META_BATCH_SIZE):
            learner = maml.clone()
            data, labels = tasks.sample()
            is_support = torch.arange(len(data)) % 2 == 0
            for _ in range(INNER_STEPS):
                learner.adapt(functional.cross_entropy(learner(data[is_support]), labels[is_support]))
            functional.cross_entropy(learner(data[~is_support]), labels[~is_support]).backward()  # type: ignore[no-untyped-call]
        for parameter in maml.parameters():
            parameter.grad.data.mul_(1.0 / META_BATCH_SIZE)
        optimizer.step()


def _write(workload: Workload, mode: str, folder: Path) -> list[tuple[Path, int]]:
    files = []
    for label, instances in enumerate(workload.images):
        for number, image in enumerate(instances):
            pixels = image[0] if mode == "L" else image.transpose(1, 2, 0)
            path = folder / f"{label:03}_{number:03}.png"
            picture = Image.fromarray(pixels, mode).resize((_FILE_SIDES[mode],) * 2)
            (picture.convert("1") if mode == "L" else picture).save(path)
            files.append((path, label))
    return files


def _network(workload: Workload) -> nn.Module:
    pooling = workload.embedding == "conv4-pool"
    channels, filters = workload.images.shape[2], workload.filters
    layers: list[nn.Module] = []
    for block in range(4):
        convolution = nn.Conv2d(
            filters if block else channels, filters, 3, stride=1 if pooling else 2, padding=1, bias=False
        )
        layers += [convolution, nn.BatchNorm2d(filters), nn.ReLU(), *([nn.MaxPool2d(2)] if pooling else [])]
    head = nn.Linear(workload.model().embedding.features, WAY)
    return nn.Sequential(*layers, nn.Flatten(), head)
