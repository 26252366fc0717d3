import torch

from fedmeta_flwr.learning.seeding import torch_draws, torch_generator


def test_a_stream_for_pytorch_is_determined_by_its_address() -> None:
    assert torch_generator(1, "weights").initial_seed() == torch_generator(1, "weights").initial_seed()
    assert torch_generator(1, "weights").initial_seed() != torch_generator(2, "weights").initial_seed()


def test_global_draws_in_a_block_come_from_the_stream_and_leave_the_state_as_it_was() -> None:
    state = torch.get_rng_state()
    drawn = []
    for purpose in ("dropout", "dropout", "noise"):
        with torch_draws(1, purpose):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), state)
