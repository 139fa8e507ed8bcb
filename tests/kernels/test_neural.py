"""Keyed noise against the hash of the environment, its scaling with the command, and the delay line."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from musclewarp.envs.randomness import uniform
from musclewarp.errors import ConfigError
from musclewarp.kernels.neural import delay, delay_buffer, keyed_normal, reset_delay, signal_dependent_noise


def keys(worlds, step, device="cpu"):
    return torch.arange(worlds, device=device), torch.full((worlds,), step, device=device)


@pytest.mark.parametrize("seed", [0, 7, -3, 2**62])
def test_numbers_are_box_and_mullers_of_the_environments_hash(device, seed):
    world, step = keys(50, 12, device)
    numbers = keyed_normal(world, step, seed, 4, torch.float64, stream=100).cpu()
    for column in range(4):
        first, second = (uniform(seed, world.cpu(), step.cpu(), torch.tensor(100 + 2 * column + i)) for i in (0, 1))
        expected = torch.sqrt(-2 * torch.log1p(-first)) * torch.cos(2 * np.pi * second)
        np.testing.assert_allclose(numbers[:, column], expected, atol=1e-12)


def test_numbers_are_standard_normal_over_worlds_columns_and_steps():
    many = [
        keyed_normal(*keys(5000, 0), 0, 1, torch.float64),
        keyed_normal(*keys(1, 0), 0, 5000, torch.float64),
        keyed_normal(torch.zeros(5000, dtype=torch.int64), torch.arange(5000), 0, 1, torch.float64),
    ]
    for numbers in many:
        assert scipy.stats.kstest(numbers.flatten().numpy(), "norm").pvalue > 1e-3
    assert abs(torch.corrcoef(torch.stack([numbers.flatten() for numbers in many])).fill_diagonal_(0)).max() < 0.06


def test_a_world_draws_the_same_whoever_else_draws_and_in_both_precisions():
    world, step = keys(100, 5)
    numbers = keyed_normal(world, step, 3, 8, torch.float64)
    assert torch.equal(keyed_normal(world[40:41], step[:1], 3, 2, torch.float64), numbers[40:41, :2])
    assert torch.equal(keyed_normal(world, step, 3, 8, torch.float32), numbers.float())
    for other in (keyed_normal(world, step + 1, 3, 8, torch.float64), keyed_normal(world, step, 4, 8, torch.float64)):
        assert (other != numbers).all()


def test_keyed_normal_keeps_torchs_rules(device):
    torch.library.opcheck(keyed_normal, (*keys(3, 1, device), 0, 5, torch.float32))


def test_keys_of_another_kind_are_refused():
    world, step = keys(3, 0)
    with pytest.raises(ConfigError, match="int64"):
        keyed_normal(world, step.int(), 0, 1, torch.float32)
    with pytest.raises(ConfigError, match="float32 or float64"):
        keyed_normal(world, step, 0, 1, torch.float16)


def test_noise_grows_with_the_excitation():
    normal = keyed_normal(*keys(20_000, 0), 0, 4, torch.float64)
    excitation = torch.tensor([0.0, 0.1, 0.3, 0.6], dtype=torch.float64).expand_as(normal)
    noisy = signal_dependent_noise(excitation, normal, 0.15)
    np.testing.assert_allclose(noisy.std(dim=0), 0.15 * excitation[0], rtol=0.02)
    np.testing.assert_allclose(noisy.mean(dim=0), excitation[0], rtol=0.005)


def test_noise_stays_in_the_unit_interval_and_passes_gradients_inside_it():
    excitation = torch.tensor([[0.5, 1.0, 1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    normal = torch.tensor([[2.0, 2.0, -2.0, -9.0]], dtype=torch.float64)
    noisy = signal_dependent_noise(excitation, normal, 0.2)
    np.testing.assert_allclose(noisy.detach(), [[0.7, 1.0, 0.6, 0.0]])
    noisy.sum().backward()
    assert excitation.grad is not None
    np.testing.assert_allclose(excitation.grad, [[1.4, 0.0, 0.6, 0.0]])


@pytest.mark.parametrize("steps", [1, 3])
def test_what_was_commanded_arrives_that_many_steps_later(device, steps):
    commands = torch.rand(10, 2, 4, device=device)
    buffer = delay_buffer(steps, torch.full((2, 4), 0.25, device=device))
    arrived = torch.stack([delay(buffer, step, command) for step, command in enumerate(commands)])
    assert (arrived[:steps] == 0.25).all()
    assert torch.equal(arrived[steps:], commands[:-steps])


def test_a_partial_reset_touches_nobody_elses_delay(device):
    commands = torch.rand(8, 3, 4, device=device)
    buffer = delay_buffer(3, torch.zeros(3, 4, device=device))
    arrived = []
    for step, command in enumerate(commands):
        if step == 4:
            reset_delay(buffer, torch.tensor([False, True, False], device=device), torch.full_like(command, 0.5))
        arrived.append(delay(buffer, step, command))
    arrived = torch.stack(arrived)
    assert torch.equal(arrived[3:, [0, 2]], commands[:-3, [0, 2]])
    assert (arrived[4:7, 1] == 0.5).all()
    assert torch.equal(arrived[7:, 1], commands[4:5, 1])


def test_a_delay_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="one step or more"):
        delay_buffer(0, torch.zeros(1, 1))
