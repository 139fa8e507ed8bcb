"""The batched solver against closed forms, scipy and daqp, on random problems, in and out of reach."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.dynamics.power_cost import balance_by_power
from musclewarp.dynamics.quadratic import balance_by_daqp
from musclewarp.dynamics.redundancy import Redundancy, balance, balance_to_the_end
from musclewarp.errors import MusclewarpError


def random_problem(seed: int, worlds: int = 6, rows: int = 4, muscles: int = 15, reach: float = 1.0) -> Redundancy:
    """Moments that activations up to 0.8 produce, times `reach`, by sparse moments of up to 60 Nm."""
    torch.manual_seed(seed)
    effect = 60 * (2 * torch.rand(worlds, rows, muscles, dtype=torch.float64) - 1)
    effect *= torch.rand_like(effect) < 0.6
    goal = reach * (effect * 0.8 * torch.rand(worlds, 1, muscles, dtype=torch.float64)).sum(-1)
    one = torch.ones(1, muscles, dtype=torch.float64)
    weight = 0.5 + torch.rand(worlds, muscles, dtype=torch.float64)
    return Redundancy(effect, goal, one, weight, 0 * one, torch.full((rows,), 0.3, dtype=torch.float64))


def by_scipy(problem: Redundancy) -> np.ndarray:
    """The same least squares by scipy's bounded-variable method."""
    found = []
    for n in range(len(problem.goal)):
        matrix = np.vstack((problem.effect[n] / problem.reserve[:, None], problem.weight[n].sqrt().diag()))
        goal = np.concatenate((problem.goal[n] / problem.reserve, np.zeros(matrix.shape[1])))
        upper = problem.upper[0].numpy()
        found.append(scipy.optimize.lsq_linear(matrix, goal, (0.0, upper), method="bvls", tol=1e-14).x)
    return np.array(found)


def test_one_muscle_shares_a_moment_with_its_reserve():
    """min a^2 + (r / s)^2 with m a + r = b: a = m b / (m^2 + s^2)."""
    problem = Redundancy(
        *(torch.tensor(x, dtype=torch.float64) for x in ([[[20.0]]], [[5.0]], [[1.0]], [[1.0]], [[0.0]], [2.0]))
    )
    np.testing.assert_allclose(balance(problem).unknowns, [[20.0 * 5.0 / (400.0 + 4.0)]], rtol=1e-12)


def test_synergists_share_by_their_moment_and_antagonists_rest():
    """Without reserves a_i = m_i b / sum m^2; the muscle that pulls back stays silent."""
    effect, one = torch.tensor([[[30.0, 40.0, -20.0]]], dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)
    reserve = torch.tensor([1e-2], dtype=torch.float64)
    problem = Redundancy(effect, torch.tensor([[25.0]], dtype=torch.float64), one, one, 0 * one, reserve)
    np.testing.assert_allclose(balance_to_the_end(problem).unknowns, [[0.3, 0.4, 0.0]], atol=1e-6)


def test_a_cubic_cost_shares_by_the_root_of_the_moment():
    """Stationarity 3 a^2 = l m: a_i goes with the square root of m_i (Crowninshield & Brand 1981)."""
    effect, one = torch.tensor([[[10.0, 40.0]]], dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    reserve = torch.tensor([1e-2], dtype=torch.float64)
    problem = Redundancy(effect, torch.tensor([[27.0]], dtype=torch.float64), one, one, 0 * one, reserve)
    np.testing.assert_allclose(balance_by_power(problem, 2, 3.0, balance_to_the_end), [[0.3, 0.6]], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), reach=st.sampled_from([0.1, 1.0, 3.0, 30.0]))
def test_every_solution_is_optimal_and_what_scipy_finds(seed, reach):
    problem = random_problem(seed, reach=reach)
    found = balance_to_the_end(problem).unknowns
    assert problem.optimality(found).max() < 1e-6
    np.testing.assert_allclose(found, by_scipy(problem), atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), reach=st.sampled_from([1.0, 3.0]))
def test_daqp_finds_the_same(seed, reach):
    pytest.importorskip("daqp")
    problem = random_problem(seed, reach=reach)
    found = balance_by_daqp(problem).unknowns
    np.testing.assert_allclose(found, balance_to_the_end(problem).unknowns, atol=1e-6)
    assert problem.optimality(found).max() < 1e-4


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), power=st.sampled_from([2.5, 3.0, 4.0]))
def test_other_powers_agree_with_scipy(seed, power):
    problem = random_problem(seed, worlds=2)
    found = balance_by_power(problem, 15, power, balance_to_the_end).numpy()
    for n in range(2):
        matrix, goal = (
            (problem.effect[n] / problem.reserve[:, None]).numpy(),
            (problem.goal[n] / problem.reserve).numpy(),
        )
        weight = problem.weight[n].numpy()

        def cost(a, matrix=matrix, goal=goal, weight=weight):
            error, a = matrix @ a - goal, np.maximum(a, 0.0)
            return weight @ a**power + error @ error, power * weight * a ** (power - 1) + 2 * matrix.T @ error

        options = {"maxiter": 5000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-9}
        best = scipy.optimize.minimize(
            cost, found[n], jac=True, bounds=[(0, 1)] * 15, method="L-BFGS-B", options=options
        )
        assert cost(found[n])[0] <= best.fun + 1e-9
        assert ((found[n] >= 0) & (found[n] <= 1)).all()


@pytest.mark.parametrize("reach", [1.0, 30.0, 1e4])
def test_moments_out_of_reach_go_to_the_reserves(reach):
    problem = random_problem(3, reach=reach)
    found = balance(problem, iterations=60, searches=10)
    assert found.unknowns.isfinite().all()
    assert ((found.unknowns >= 0) & (found.unknowns <= 1)).all()
    most = problem.effect.abs().sum(-1)
    assert (problem.missing(found.unknowns).abs() >= problem.goal.abs() - most - 1e-9).all()


def test_muscles_without_effect_rest_and_rows_without_muscles_are_all_reserve():
    problem = random_problem(4)
    problem.effect[:, :, 3] = 0.0
    problem.effect[:, 1] = 0.0
    found = balance_to_the_end(problem)
    assert (found.unknowns[:, 3] == 0).all()
    np.testing.assert_allclose(problem.missing(found.unknowns)[:, 1], problem.goal[:, 1])


def test_a_batch_is_its_members():
    problem = random_problem(5, reach=3.0)
    together = balance(problem, iterations=7)
    for n in range(len(problem.goal)):
        alone = balance(problem[torch.tensor([n])], iterations=7)
        np.testing.assert_allclose(alone.unknowns[0], together.unknowns[n], atol=1e-10)


def test_the_step_before_is_a_good_start():
    problem = random_problem(6, worlds=64)
    before = balance_to_the_end(problem)
    problem.goal.mul_(1.03)
    exact = balance_to_the_end(problem).unknowns
    warm, cold = (
        (balance(problem, start, iterations=2).unknowns - exact).abs().amax(dim=1)
        for start in (before.multipliers, None)
    )
    assert (warm < 1e-9).double().mean() > 0.8
    assert warm.mean() < 0.1 * cold.mean()


def test_single_precision_is_as_exact_as_it_can_be():
    problem = random_problem(7, worlds=32)
    names = ("effect", "goal", "upper", "weight", "linear", "reserve")
    single = Redundancy(**{name: getattr(problem, name).float() for name in names})
    found = balance(single, iterations=20).unknowns
    np.testing.assert_allclose(found, balance_to_the_end(problem).unknowns, atol=1e-4)


def test_forces_without_an_upper_bound_take_what_muscles_cannot():
    problem = random_problem(8, reach=20.0)
    wide = problem.upper.clone()
    wide[:, :8] = torch.inf
    free = Redundancy(problem.effect, problem.goal, wide, problem.weight, problem.linear, problem.reserve)
    found = balance_to_the_end(free).unknowns
    assert found[:, :8].max() > 1.0
    assert found[:, 8:].max() <= 1.0
    np.testing.assert_allclose(found, by_scipy(free), atol=1e-5)


def test_numbers_that_are_not_finite_are_an_error_that_names_the_problem():
    problem = random_problem(9)
    problem.goal[2, 1] = torch.nan
    with pytest.raises(MusclewarpError, match=r"1 of 6 .* number 2"):
        balance_to_the_end(problem, limit=60)
