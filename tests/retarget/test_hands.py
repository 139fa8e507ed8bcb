"""Hands that carry the body: wrists bent back, the body lifted with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from musclewarp.models.kinematics import Kinematics
from musclewarp.motion import rotations
from musclewarp.motion.amass import read_amass
from musclewarp.motion.body import body_of
from musclewarp.motion.motion import SMPL_JOINTS
from musclewarp.references import Reference
from musclewarp.retarget import retarget
from musclewarp.retarget.hands import carrying, prop
from musclewarp.retarget.person import person_of_size
from musclewarp.retarget.pipeline import rest_motion
from musclewarp.retarget.targets import Targets, at_t_pose, t_pose

DT, STRIDE, FRAMES = 0.02, 5, 101


@pytest.fixture(scope="module")
def targets(body) -> Targets:
    pose = Kinematics(body)(torch.from_numpy(t_pose(body))[None], jacobian=False)
    still = pose.position.numpy(), rotations.from_matrix(pose.rotation.numpy())
    return Targets(*(np.repeat(part, FRAMES, axis=0) for part in still))


@pytest.fixture(scope="module")
def cartwheel(data_root, body) -> Reference:
    motion = read_amass(data_root / "motions" / "cmu_many" / "cmu_49_07.npz")
    around = motion.clip(round(0.6 * motion.fps), round(2.4 * motion.fps))
    return retarget(around, body, DT, body_of(motion, "stand-in"), activations=False)


def test_a_hand_that_stands_is_turned_palm_forward_and_the_other_as_recorded(body, targets):
    rough = np.repeat(t_pose(body)[None], len(range(0, FRAMES, STRIDE)), axis=0)
    stands = np.zeros((FRAMES, 2), dtype=bool)
    stands[45:56, 0] = True
    propped, postures = prop(body, targets, rough, STRIDE, carrying(stands, DT))
    turn = rotations.multiply(propped.rotations, rotations.conjugate(targets.rotations))
    angle = np.linalg.norm(rotations.to_rotvec(turn), axis=-1)
    left = body.sites.index("left_hand")
    assert np.delete(angle, left, axis=1).max() < 1e-9
    assert angle[50, left] == pytest.approx(-body.layout.propped["flexion"], abs=1e-3)
    assert angle[[0, 30, 70, 100], left].max() < 1e-9
    assert np.abs(np.diff(angle[:, left], n=2)).max() / DT**2 < 150  # the wrist bends smoothly
    home, _ = at_t_pose(body)
    fingers = home["left_hand"] - home["left_elbow"]  # in the T-pose, palms down, back is up
    assert rotations.rotate(turn[50, left], fingers)[2] > 0.1
    moved = np.flatnonzero((postures != rough).any(axis=0))
    wrist = [body.mj_model.joint(f"{joint}_l").qposadr[0] for joint in body.layout.propped]
    assert set(moved) <= set(wrist)


def test_hands_that_do_not_stand_change_nothing(body, targets):
    rough = np.repeat(t_pose(body)[None], len(range(0, FRAMES, STRIDE)), axis=0)
    propped, postures = prop(body, targets, rough, STRIDE, np.zeros((FRAMES, 2)))
    assert propped is targets
    assert postures is rough


@pytest.mark.filterwarnings("ignore:the feet rise")  # those of a handstand do not stand
def test_hands_of_a_person_of_another_size_carry_it_where_the_recorded_ones_do(body, whole_clip, person):
    """First on the feet, then on the hands, both at the same height."""
    still = rest_motion(whole_clip)
    turned = np.repeat(still.rotations, 40, axis=0)
    turned[:, 0] = rotations.from_rotvec([np.pi / 2, 0.0, 0.0])
    turned[20:, 0] = rotations.from_rotvec([-np.pi / 2, 0.0, 0.0])
    for side, turn in (("left", np.pi / 2), ("right", -np.pi / 2)):  # arms overhead
        turned[:, SMPL_JOINTS.index(f"{side}_shoulder")] = rotations.from_rotvec([0.0, 0.0, turn])
    motion = replace(still, rotations=turned, translation=np.zeros((40, 3)))
    lowest = person.joints(motion).positions[..., 2].min(axis=1)
    motion = replace(motion, translation=-np.outer(lowest, [0.0, 0.0, 1.0]))
    sized = person_of_size(body, person, motion).positions[..., 2]
    hips = [SMPL_JOINTS.index(f"{side}_hip") for side in ("left", "right")]
    own = person.joints(motion).positions[:, hips, 2].mean(axis=1)
    assert abs(np.diff(sized[[0, -1]][:, hips].mean(axis=1) / own[[0, -1]])[0]) > 0.03  # they are of other proportions
    assert np.ptp(sized.min(axis=1)) < 0.01


def test_a_cartwheel_does_not_shake(cartwheel):
    assert cartwheel.quality["penetration_fraction"] < 0.001
    assert cartwheel.quality["acceleration_ratio"] < 1.1
    assert cartwheel.quality["jerk_ratio"] < 1.1


def test_wrists_stay_bent_back_while_they_carry_the_body(cartwheel, body):
    hands = [body.sites.index(f"{side}_hand") for side in ("right", "left")]
    low = cartwheel.site_positions[:, hands, 2] < 0.15
    bend = cartwheel.qpos[:, [body.mj_model.joint(f"flexion_{side}").qposadr[0] for side in "rl"]]
    assert low.sum(axis=0).min() >= 5
    assert np.median(bend[low]) < -0.5
