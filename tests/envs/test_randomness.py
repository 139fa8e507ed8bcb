"""Random numbers keyed by (seed, world, draw, stream)."""

from __future__ import annotations

import pytest
import scipy.stats
import torch

from musclewarp.envs.randomness import uniform


def draws(seed=0, worlds=100, rounds=100, stream=0):
    world = torch.arange(worlds).repeat(rounds)
    return uniform(seed, world, torch.arange(rounds).repeat_interleave(worlds), stream)


@pytest.mark.parametrize("seed", [0, 1, 12345, -7, 2**62])
def test_numbers_are_uniform_over_worlds_and_over_draws(seed):
    both = draws(seed)
    one_world = uniform(seed, torch.zeros(10_000, dtype=torch.int64), torch.arange(10_000), 0)
    one_draw = uniform(seed, torch.arange(10_000), torch.zeros(10_000, dtype=torch.int64), 0)
    for numbers in (both, one_world, one_draw):
        assert scipy.stats.kstest(numbers.numpy(), "uniform").pvalue > 1e-3
        assert float(numbers.min()) >= 0
        assert float(numbers.max()) < 1


def test_numbers_have_the_53_bits_of_a_double():
    numbers = draws() * 2.0**53
    assert (numbers == numbers.round()).all()
    assert (numbers.long() % 2 == 1).any()


def test_the_same_key_gives_the_same_number_whoever_else_draws():
    numbers = draws(seed=3).view(100, 100)
    assert torch.equal(numbers, draws(seed=3).view(100, 100))
    alone = uniform(3, torch.tensor([42]), torch.tensor([17]), 0)
    assert float(alone) == float(numbers[17, 42])
    assert torch.equal(draws(seed=3, worlds=7).view(100, 7), numbers[:, :7])


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream": 1}])
def test_seeds_and_streams_are_unrelated(other):
    first, second = draws(), draws(**other)
    assert (first != second).all()
    assert abs(torch.corrcoef(torch.stack((first, second)))[0, 1]) < 0.04  # four standard deviations


@pytest.mark.parametrize("dim", [0, 1])
def test_neighbouring_worlds_and_draws_are_unrelated(dim):
    numbers = draws().view(100, 100)
    near, next_ = numbers.narrow(dim, 0, 99).flatten(), numbers.narrow(dim, 1, 99).flatten()
    assert abs(torch.corrcoef(torch.stack((near, next_)))[0, 1]) < 0.04


def test_the_next_seed_is_not_the_same_worlds_shifted():
    numbers = torch.cat([draws(seed=seed, worlds=50, rounds=20) for seed in range(10)])
    assert len(numbers.unique()) == len(numbers)
