"""Frames that no muscles can produce, against linear programs."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linprog

from musclewarp.dynamics import Redundancy, balance_to_the_end
from musclewarp.dynamics.feasibility import impossible


def least_missing(effect: np.ndarray, goal: np.ndarray, upper: np.ndarray) -> float:
    """The smallest max_j |goal - effect x|_j over 0 <= x <= upper."""
    joints, count = effect.shape
    slack = -np.ones((joints, 1))
    rows = np.vstack((np.hstack((effect, slack)), np.hstack((-effect, slack))))
    bounds = [*((0.0, value) for value in upper), (0.0, None)]
    return linprog(np.eye(count + 1)[-1], rows, np.concatenate((goal, -goal)), bounds=bounds).fun


def test_impossible_is_what_a_linear_program_cannot_solve_either():
    random = np.random.default_rng(0)
    effect = random.normal(size=(60, 5, 12))
    goal = random.normal(size=(60, 5)) * np.geomspace(0.5, 20.0, 60)[:, None]
    upper, reserve = random.uniform(0.5, 1.5, (1, 12)), np.array([0.3, 0.3, 0.1, 0.5, 10.0])
    arrays = (effect, goal, upper, np.ones((1, 12)), np.zeros((1, 12)), reserve)
    problem = Redundancy(*(torch.from_numpy(array) for array in arrays))
    joints = np.array([True, True, True, True, False])  # the last may miss anything
    found = impossible(problem, joints, balance_to_the_end(problem).unknowns)
    scaled = effect[:, joints] / reserve[joints][:, None], goal[:, joints] / reserve[joints]
    expected = [least_missing(a, b, upper[0]) > 1.0 for a, b in zip(*scaled)]
    assert found.tolist() == expected
    assert 10 < found.sum() < 50
