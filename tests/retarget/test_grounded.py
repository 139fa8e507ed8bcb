"""Bodies on a floor: heights of their parts and the slopes, and postures that stand where the recording stands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from musclewarp.errors import FileError
from musclewarp.models import MuscleModel, load_model
from musclewarp.models.kinematics import Kinematics
from musclewarp.models.surfaces import floor_geoms, geom_heights
from musclewarp.motion import rotations
from musclewarp.references.quality import lowest_foot_heights
from musclewarp.retarget.bounds import rest_posture
from musclewarp.retarget.contacts import LIMBS, Contacts
from musclewarp.retarget.ground import CLEARANCE, Ground, Surface
from musclewarp.retarget.grounded import solve_grounded
from musclewarp.retarget.ik import IKConfig, solve
from musclewarp.retarget.ik_problem import Problem
from musclewarp.retarget.targets import Targets

DT = 0.02


@pytest.fixture(scope="module")
def whole() -> MuscleModel:
    return load_model("myofullbody")


@pytest.fixture(scope="module")
def surface(whole) -> Surface:
    return Surface(whole)


def postures(model: MuscleModel, count: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    qpos = np.tile(rest_posture(model), (count, 1))
    qpos[:, 3:7] = rotations.multiply(rotations.from_rotvec(random.normal(scale=0.5, size=(count, 3))), qpos[:, 3:7])
    qpos[:, model.joint_qpos] += random.normal(scale=0.1, size=(count, len(model.joint_qpos)))
    return model.couplings.project_qpos(torch.from_numpy(qpos))


def lowest_points(whole: MuscleModel, surface: Surface, qpos: torch.Tensor) -> torch.Tensor:
    kinematics = Kinematics(whole, surface.bodies, surface.centres)
    return surface.lowest(*kinematics.points(kinematics.walk(qpos)))


def test_the_lowest_point_is_that_of_the_collision_geoms(whole, surface):
    qpos = postures(whole, 20)
    heights = lowest_points(whole, surface, qpos)[:, 2].T
    truth, rigid = geom_heights(whole, qpos.numpy(), floor_geoms(whole)), whole.mj_model.body_weldid
    carrier = rigid[whole.mj_model.geom_bodyid[floor_geoms(whole)]]
    assert set(rigid[surface.bodies]) == set(carrier)
    for body in np.unique(carrier):
        lowest = heights[:, rigid[surface.bodies] == body].min(dim=1).values.numpy()
        above = lowest - truth[:, carrier == body].min(axis=1)
        assert above.min() > -1e-9
        assert above.max() < CLEARANCE + 1e-4  # between the directions that were tried
    for limb, name in enumerate(LIMBS):
        assert (surface.limb == limb).any()
        sides = {whole.mj_model.body(body).name[-1] for body in surface.bodies[surface.limb == limb]}
        assert sides == {name[0]}


def test_what_a_step_does_to_the_heights_is_foreseen(whole, surface):
    frames, size = 4, 1e-6
    qpos, none = postures(whole, frames), np.zeros((frames, len(LIMBS)), dtype=bool)
    goal = Kinematics(whole)(qpos, jacobian=False)
    targets = Targets(goal.position.numpy(), rotations.from_matrix(goal.rotation.numpy()))
    problem = Problem(whole, targets, DT, IKConfig(), ground=Ground(surface, none))
    tracking, qpos = problem.tracking, problem.admissible(qpos)
    here, values = problem.at(qpos).pieces[0], tracking.joint_values(qpos)
    inside = ((values > problem.lower + 1e-4) & (values < problem.upper - 1e-4)) | ~problem.scalar
    delta = inside * torch.from_numpy(np.random.default_rng(1).normal(size=(frames, problem.n)))
    moved = [lowest_points(whole, surface, problem.move(qpos, sign * size * delta))[:, 2] for sign in (1.0, -1.0)]
    expected = (moved[0] - moved[1]) / (2 * size)

    screws = tracking.slopes(here).screws
    rise = tracking.heights_after(here, screws, delta) - here.lowest[:, 2]
    np.testing.assert_allclose(rise, expected, atol=1e-6)
    part, frame = torch.ones_like(rise).nonzero(as_tuple=True)
    slopes = tracking.height_slopes(here, screws, frame, part)
    np.testing.assert_allclose((slopes * delta[frame]).sum(1), expected.flatten(), atol=1e-6)


def test_only_the_lowest_part_of_a_standing_foot_and_what_is_below_the_floor_weighs(surface):
    heights = torch.full((2, len(surface.limb)), 0.05, dtype=torch.float64)
    left, right = (np.flatnonzero(surface.limb == foot) for foot in (0, 1))
    heights[0, left[1]], heights[1, right[0]] = 0.01, -0.02
    pull = Ground(surface, np.array([[True, False, False, False], [False] * 4])).pull(heights, 5.0, 200.0)
    expected = torch.zeros_like(pull.weight)
    expected[0, left[1]], expected[1, right[0]] = 5.0, 200.0
    torch.testing.assert_close(pull.weight, expected)
    torch.testing.assert_close(pull.goal, CLEARANCE * (expected == 200.0).double())


def test_a_squat_recorded_above_and_in_the_floor_stands_on_it(whole, surface, targets_of):
    """The recording floats by 0.3 m, and its feet, unlike the model's, sink by 2 cm as it squats."""
    frames = 60
    qpos = np.tile(rest_posture(whole), (frames, 1))
    m, bend = whole.mj_model, 0.4 * (1 - np.cos(np.linspace(0, 2 * np.pi, frames)))
    for side in "rl":
        for joint, share in (("hip_flexion", 1.0), ("knee_angle", 2.0), ("ankle_angle", 1.0)):
            qpos[:, m.joint(f"{joint}_{side}").qposadr[0]] = share * bend
    qpos = whole.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    qpos[:, 2] += 0.3 - 0.02 * bend / bend.max() - lowest_foot_heights(whole, qpos)
    always = np.ones((frames, 2), dtype=bool)
    contacts = Contacts(always, always, ~always)
    solution, targets = solve_grounded(whole, targets_of(whole, qpos), contacts, DT)
    heights = np.stack([lowest_foot_heights(whole, solution.qpos, foot) for foot in whole.feet], axis=1)
    assert np.abs(heights).max() < 5e-3
    assert heights.min() > -1e-3
    found = Kinematics(whole)(torch.from_numpy(solution.qpos), jacobian=False).position.numpy()
    assert np.linalg.norm(found - targets.positions, axis=-1).mean() < 0.02
    # lifted frame by frame, the root would jump by as much as the feet sink
    assert np.abs(np.diff(solution.qpos[:, 2], n=3)).max() < 3e-3


def test_hands_that_are_put_down_stand_on_the_floor_and_nothing_is_in_it(whole, surface, targets_of):
    """A person bends down until the hands would be deep in the floor, leans on them, and rises again."""
    frames = 60
    qpos, m = np.tile(rest_posture(whole), (frames, 1)), whole.mj_model
    bend = np.clip(1.2 * np.sin(np.linspace(0, np.pi, frames)), 0.0, 1.0)
    qpos[:, 3:7] = rotations.multiply(rotations.from_rotvec(np.outer(bend, [2.2, 0.0, 0.0])), qpos[:, 3:7])
    bent = {"hip_flexion": 2.05, "knee_angle": 0.3, "ankle_angle": 0.45}
    bent |= {"shoulder_elv": 1.6, "elv_angle": 1.4, "elbow_flex": 0.1}
    for joint, angle in bent.items():
        for side in "rl":
            adr = m.joint(f"{joint}_{side}").qposadr[0]
            qpos[:, adr] += bend * (angle - qpos[:, adr])
    qpos = whole.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    qpos[:, 2] -= lowest_foot_heights(whole, qpos)
    hands = [g for g in floor_geoms(whole) if m.body(m.body_weldid[m.geom_bodyid[g]]).name[:-1] == "lunate_"]
    left = np.array([m.body(m.geom_bodyid[g]).name.endswith("_l") for g in hands])

    def heights(postures):
        reached = geom_heights(whole, postures, hands)
        return np.stack((reached[:, left].min(axis=1), reached[:, ~left].min(axis=1)), axis=1)

    recorded = heights(qpos)
    assert recorded.min() < -0.03
    slow = np.abs(np.gradient(recorded, DT, axis=0)) < 0.6
    always, down = np.ones((frames, 2), dtype=bool), (recorded < 0.0) & slow  # what moves faster does not stand
    assert down.sum(axis=0).min() > 15
    solution, lowered = solve_grounded(whole, targets_of(whole, qpos), Contacts(always, always, down), DT)
    found = heights(solution.qpos)
    assert np.abs(found[down]).max() < 2e-3
    assert geom_heights(whole, solution.qpos, floor_geoms(whole)).min() > -1e-3
    reached = Kinematics(whole)(torch.from_numpy(solution.qpos), jacobian=False).position.numpy()
    assert np.linalg.norm(reached - lowered.positions, axis=-1).mean() < 0.03


def bent(model: MuscleModel, bend: np.ndarray) -> np.ndarray:
    """Postures `(T, nq)` that bend down from the hips until straight arms reach into the floor."""
    qpos, m = np.tile(rest_posture(model), (len(bend), 1)), model.mj_model
    qpos[:, 3:7] = rotations.multiply(rotations.from_rotvec(np.outer(bend, [2.4, 0.0, 0.0])), qpos[:, 3:7])
    elbow = "elbow_flex" if "elbow_flex_r" in model.dof_names else "elbow_flexion"
    angles = {"hip_flexion": 2.0, "knee_angle": 0.4, "shoulder_elv": 1.6, "elv_angle": 1.4, elbow: 0.1}
    for joint, angle in angles.items():
        for side in "rl":
            adr = m.joint(f"{joint}_{side}").qposadr[0]
            qpos[:, adr] += bend * (angle - qpos[:, adr])
    qpos = model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    qpos[:, 2] -= lowest_foot_heights(model, qpos)
    return qpos


def test_what_falls_between_frames_that_are_far_apart_stays_out_of_the_floor(whole, targets_of):
    """A bow whose lowest is between two of the frames, 0.2 s apart, that are fitted first."""
    frames, dt = 26, 0.04
    qpos = bent(whole, np.cos(np.pi / 2 * np.clip((np.arange(frames) - 12.5) / 8, -1.0, 1.0)) ** 2)
    always = np.ones((frames, 2), dtype=bool)
    assert geom_heights(whole, qpos, floor_geoms(whole)).min() < -0.05
    solution, _ = solve_grounded(whole, targets_of(whole, qpos), Contacts(always, always, ~always), dt)
    assert geom_heights(whole, solution.qpos, floor_geoms(whole)).min() > -2e-3


def test_wrists_stand_in_for_hands_without_geoms(ms_human, targets_of):
    frames = 21
    targets = targets_of(ms_human, bent(ms_human, 1.1 * np.sin(np.linspace(0, np.pi, frames))))
    hands = [ms_human.sites.index(f"{side}_hand") for side in ("left", "right")]
    recorded = targets.positions[:, hands, 2]
    assert recorded.min() < -0.03
    surface = Surface(ms_human)
    assert surface.stands.tolist() == [True, True, False, False]
    always = np.ones((frames, 2), dtype=bool)
    solution, _ = solve_grounded(ms_human, targets, Contacts(always, always, recorded < 0.03), DT)
    wrists = Kinematics(ms_human)(torch.from_numpy(solution.qpos), jacobian=False).position.numpy()[:, hands, 2]
    assert wrists.min() > 0.019
    assert wrists[frames // 2].max() < 0.03


def test_fingers_belong_to_their_hand():
    model = load_model("myofullbody", fingers=True)
    surface = Surface(model)
    names = np.array([model.mj_model.body(body).name for body in surface.bodies])
    for hand in ("left_hand", "right_hand"):
        fingers = np.isin(names, [f"{finger}distph_{hand[0]}" for finger in "2345"])
        assert fingers.any()
        assert (surface.limb[fingers] == LIMBS.index(hand)).all()


@pytest.mark.parametrize("frames", [2, 3, 6, 11])
@pytest.mark.parametrize("stands", [True, False])
def test_the_shortest_clips_are_solved_and_told_of_step_by_step(whole, frames, stands, targets_of):
    qpos = np.tile(rest_posture(whole), (frames, 1))
    targets = targets_of(whole, qpos)
    stance, steps = np.full((frames, 2), stands), []
    contacts = Contacts(stance, stance, np.zeros((frames, 2), dtype=bool))
    solution, _ = solve_grounded(whole, targets, contacts, DT, on_iteration=lambda step, _: steps.append(step))
    assert steps == list(range(1, solution.iterations + 1))
    heights = np.stack([lowest_foot_heights(whole, solution.qpos, foot) for foot in whole.feet], axis=1)
    assert heights.min() > -1e-3


def test_targets_that_are_not_finite_are_refused(whole):
    positions = np.full((4, len(whole.sites), 3), np.nan)
    turned = np.tile([1.0, 0.0, 0.0, 0.0], (4, len(whole.sites), 1))
    with pytest.raises(FileError, match="not all finite"):
        solve(whole, Targets(positions, turned), DT)


@pytest.mark.parametrize("grounded", [False, True])
def test_the_descent_direction_of_a_spinning_body_is_minus_half_the_gradient(whole, surface, grounded, targets_of):
    frames = 5
    qpos = postures(whole, frames, seed=3).numpy()
    spin = rotations.from_rotvec(np.outer(np.arange(frames), [0.03, 0.02, 0.1]))
    qpos[:, 3:7] = rotations.multiply(spin, qpos[0, 3:7])
    qpos[:, 2] += 0.02 - np.stack([lowest_foot_heights(whole, qpos, f) for f in whole.feet], axis=1).min(axis=1)
    targets = targets_of(whole, qpos)
    ground = Ground(surface, np.ones((frames, 4), dtype=bool)) if grounded else None
    config = IKConfig(whole_body_acceleration=1e-6)
    problem = Problem(whole, replace(targets, positions=targets.positions + 0.01), DT, config, ground=ground)
    here = problem.at(problem.admissible(torch.from_numpy(qpos)))
    gradient, random, step = problem.slope(here).gradient, np.random.default_rng(4), 1e-6
    values = problem.tracking.joint_values(here.qpos)
    inside = (((values > problem.lower + 1e-4) & (values < problem.upper - 1e-4)) | ~problem.scalar).numpy()
    for _ in range(5):
        along = random.normal(size=(frames, problem.n)) * inside
        moved = [problem.at(problem.move(here.qpos, torch.from_numpy(sign * step * along))).cost for sign in (1, -1)]
        expected = -2.0 * float((gradient * along).sum())
        assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(expected, rel=5e-3, abs=1e-5)


def test_a_step_that_would_lead_through_the_floor_lands_on_it(whole, surface, targets_of):
    """All targets are 10 cm below a body that hangs 1 cm above the floor."""
    qpos = np.tile(rest_posture(whole), (3, 1))
    qpos[:, 2] += 0.01 - min(lowest_foot_heights(whole, qpos[:1], foot)[0] for foot in whole.feet)
    targets = targets_of(whole, qpos)
    ground = Ground(surface, np.zeros((3, len(LIMBS)), dtype=bool))
    below = replace(targets, positions=targets.positions - [0.0, 0.0, 0.1])
    problem = Problem(whole, below, DT, IKConfig(), ground=ground)
    here = problem.at(problem.admissible(torch.from_numpy(qpos)))
    there, gain = problem.step(here, problem.slope(here), np.full(3, 1e-4))
    assert lowest_foot_heights(whole, there.numpy()).min() > -2e-3
    assert 0 < gain < here.cost
    assert problem.at(there).cost < here.cost
