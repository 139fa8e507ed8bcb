"""Parts of a body that share no muscle: problems solved apart are the whole problem."""

from __future__ import annotations

import numpy as np
import torch

from musclewarp.dynamics import MomentArms
from musclewarp.dynamics.parts import Parts
from musclewarp.dynamics.redundancy import Redundancy, balance_to_the_end

# joints 0 and 3 share muscles through joint 1; joint 2 has one alone; joint 4 and muscle 5 have nobody
RELATED = np.zeros((5, 6), dtype=bool)
RELATED[[0, 1, 1, 3, 2, 2], [0, 0, 3, 3, 1, 4]] = True
RELATED[3, 2] = True


def test_joints_that_share_muscles_through_others_are_one_part():
    parts = Parts(RELATED)
    assert parts.shape == (2, 4, 4)
    joints = parts.split_joints(1.0 + torch.arange(5)[None])
    assert sorted(map(sorted, joints.tolist())) == [[0, 0, 0, 3], [1, 2, 4, 5]]
    muscles = parts.split_muscles(1.0 + torch.arange(6)[None])
    assert sorted(map(sorted, muscles.tolist())) == [[0, 0, 2, 5], [1, 3, 4, 6]]


def test_what_was_split_is_joined_again():
    parts = Parts(RELATED)
    joints, muscles = torch.rand(7, 5), torch.rand(7, 6)
    assert torch.equal(parts.join_joints(parts.split_joints(joints)), joints)
    assert torch.equal(parts.join_muscles(parts.split_muscles(muscles)), muscles)


def test_parts_solved_apart_are_the_whole_problem():
    torch.manual_seed(0)
    parts, worlds = Parts(RELATED), 4
    effect = torch.zeros(worlds, 5, 6, dtype=torch.float64)
    joint, muscle = RELATED.nonzero()
    values = 40 * torch.randn(worlds, len(joint), dtype=torch.float64)
    effect[:, joint, muscle] = values
    apart = torch.zeros(worlds, parts.shape[0] * parts.shape[1] * parts.shape[2], dtype=torch.float64)
    apart[:, parts.place(joint, muscle)] = values
    goal = 30 * torch.randn(worlds, 5, dtype=torch.float64)

    def solve(effect, goal):
        one = torch.ones(1, effect.shape[2], dtype=torch.float64)
        reserve = torch.full((effect.shape[1],), 0.5, dtype=torch.float64)
        return balance_to_the_end(Redundancy(effect, goal, one, one, 0 * one, reserve)).unknowns

    whole = solve(effect, goal)
    pieces = solve(apart.view(-1, *parts.shape[1:]), parts.split_joints(goal))
    np.testing.assert_allclose(parts.join_muscles(pieces), whole, atol=1e-6)


def test_limbs_and_trunk_of_the_models_are_parts(arms, body):
    for model, count in ((arms, 2), (body, 5)):
        found = MomentArms(model, dofs=model.joint_dofs, apart=True).parts
        assert found.shape[:2] == (count, 7)


def test_arms_given_apart_are_the_whole_ones_and_nothing_lies_between_parts(body):
    random = np.random.default_rng(0)
    moment = torch.from_numpy(random.normal(size=(3, body.mj_model.nJmom)))
    qpos = torch.from_numpy(np.tile(body.mj_model.qpos0, (3, 1)))
    whole = MomentArms(body, dofs=body.joint_dofs)(moment, qpos)
    apart = MomentArms(body, dofs=body.joint_dofs, apart=True)
    joints, muscles = torch.rand(3, 31, dtype=torch.float64), torch.rand(3, body.mj_model.nu, dtype=torch.float64)
    pieces = apart(moment, qpos)
    found = (pieces @ apart.parts.split_muscles(muscles)[..., None])[..., 0]
    np.testing.assert_allclose(apart.parts.join_joints(found), (whole @ muscles[..., None])[..., 0], rtol=1e-10)
    found = (apart.parts.split_joints(joints)[:, None] @ pieces)[:, 0]
    np.testing.assert_allclose(apart.parts.join_muscles(found), (joints[:, None] @ whole)[:, 0], rtol=1e-10, atol=1e-12)
