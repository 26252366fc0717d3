import torch
from torch import nn

from fedmeta_flwr.learning.proximal import ProximalTerm


def test_the_gradient_pulls_back_to_where_the_parameters_were() -> None:
    moved, idle = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([3.0]))
    term = ProximalTerm([moved, idle], 0.5)
    with torch.no_grad():
        moved.add_(2)
    moved.grad = torch.tensor([10.0, 0.0])
    term.add_gradient()
    assert moved.grad.tolist() == [11.0, 1.0]
    assert idle.grad is not None
    assert idle.grad.tolist() == [0.0]


def test_without_a_weight_nothing_is_added() -> None:
    parameter = nn.Parameter(torch.ones(2))
    ProximalTerm([parameter], 0.0).add_gradient()
    assert parameter.grad is None
