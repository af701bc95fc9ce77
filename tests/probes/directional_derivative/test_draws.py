"""Draws: sizes, signs, seeds, shapes."""

import torch

from gradcheck_suite.probes.directional_derivative.draws import Draws


def test_entries_are_neither_near_zero_nor_one_nor_large():
    values = Draws(3).like(torch.empty(2000, dtype=torch.float64))
    assert 0.5 <= values.abs().min() < 0.51
    assert 1.49 < values.abs().max() <= 1.5
    assert 0.4 < (values > 0).double().mean() < 0.6


def test_a_seed_gives_the_same_draws_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    first = [Draws(7).like(torch.empty(5)) for _ in range(2)]
    assert torch.equal(*first)
    assert not torch.equal(first[0], Draws(8).like(torch.empty(5)))
    assert torch.equal(state, torch.get_rng_state())


def test_shape_dtype_and_complex_numbers():
    draws = Draws(0)
    assert draws.like(torch.empty(2, 3, dtype=torch.float32)).dtype == torch.float32
    value = draws.like(torch.empty(4, 2, dtype=torch.complex128))
    assert value.shape == (4, 2)
    assert value.imag.abs().min() >= 0.5


def test_no_two_rows_of_a_large_tensor_are_equal():
    rows = Draws(0).like(torch.empty(600, 512, dtype=torch.float64))
    assert len({tuple(row[:4].tolist()) for row in rows}) == 600


def test_a_tensor_larger_than_the_pool_is_filled():
    values = Draws(0).like(torch.empty(4_300_000, dtype=torch.float32))
    assert values.shape == (4_300_000,)
    assert values.abs().min() >= 0.5
