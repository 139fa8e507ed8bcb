"""From motions to references: what must hold whoever moves, wherever, and which way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from musclewarp.dynamics import Trajectory, optimize_activations
from musclewarp.errors import FileError
from musclewarp.models.mirror import Mirror
from musclewarp.motion import rotations
from musclewarp.motion.motion import SMPL_JOINTS, Motion
from musclewarp.references import Reference
from musclewarp.references.quality import limit_violation, lowest_foot_heights, reference_quality
from musclewarp.retarget import IKConfig, retarget
from musclewarp.retarget.pipeline import rest_motion

EXACT = IKConfig(tolerance=1e-8)
UPRIGHT = rotations.from_rotvec([np.pi / 2, 0.0, 0.0])  # SMPL's rest frame, y up, in the z-up world


def in_another_place(motion: Motion, person, yaw: float, shift: tuple[float, float]) -> Motion:
    """The same movement in a world turned about z and shifted."""
    turn = Rotation.from_rotvec([0.0, 0.0, yaw])
    pelvis = person.joints(rest_motion(motion)).positions[0, 0]  # about which the root turns
    local = motion.rotations.copy()
    local[:, 0] = rotations.multiply(turn.as_quat(scalar_first=True), local[:, 0])
    translation = turn.apply(motion.translation + pelvis) - pelvis + np.array([*shift, 0.0])
    return replace(motion, rotations=local, translation=translation)


def mirrored(motion: Motion) -> Motion:
    """Left and right exchanged; x is lateral in SMPL's rest frame, and chosen so in the world."""
    swap = {"left": "right", "right": "left"}
    order = [
        SMPL_JOINTS.index(f"{swap[side]}_{part}") if side in swap else joint
        for joint, (side, _, part) in enumerate(name.partition("_") for name in SMPL_JOINTS)
    ]
    return replace(
        motion,
        rotations=motion.rotations[:, order] * [1.0, 1.0, -1.0, -1.0],
        translation=motion.translation * [-1.0, 1.0, 1.0],
    )


def distance(first: Reference, second: Reference) -> float:
    return float(np.linalg.norm(first.site_positions - second.site_positions, axis=-1).max())


@pytest.fixture(scope="module")
def arms_reference(arms, arms_clip, person) -> Reference:
    return retarget(arms_clip, arms, body=person, config=EXACT)


@pytest.fixture(scope="module")
def body_reference(body, whole_clip, person) -> Reference:
    return retarget(whole_clip, body, body=person)


@pytest.mark.filterwarnings("ignore:motion .* has betas:UserWarning")
@pytest.mark.parametrize("clip", ["arms_clip", "recorded_clip"])
@pytest.mark.parametrize("name", ["arms", "body"])
def test_couplings_and_limits_hold_on_every_frame(name, clip, request, person):
    model, motion = request.getfixturevalue(name), request.getfixturevalue(clip)
    reference = retarget(motion.clip(0, round(0.6 * motion.fps)), model, body=person)
    reference.check_model(model)
    assert reference.num_frames == 30
    qpos, qvel = torch.from_numpy(reference.qpos), torch.from_numpy(reference.qvel)
    assert model.couplings.residual(qpos).abs().max() < 1e-9
    assert (qvel - model.couplings.project_qvel(qpos, qvel)).abs().max() < 1e-9
    assert limit_violation(model, reference.qpos).max() <= 1e-3
    assert limit_violation(model, reference.qpos)[:, model.mj_model.dof_jntid[model.joint_dofs]].max() == 0


def test_the_demo_clip_is_followed_closely(arms_reference, arms):
    assert arms_reference.quality["ik_converged"] == 1
    error = np.linalg.norm(arms_reference.site_positions - arms_reference.target_positions, axis=-1)
    moving = [arms.sites.index(f"{side}_{site}") for side in ("left", "right") for site in ("elbow", "hand")]
    assert error[:, moving].mean() < 0.02
    travelled = np.linalg.norm(np.diff(arms_reference.site_positions, axis=0), axis=-1).sum(0)
    assert travelled[moving].max() > 1.0


def test_quality_stands_beside_the_reference(arms, arms_reference):
    expected = reference_quality(arms, arms_reference)
    assert {key: arms_reference.quality[key] for key in expected} == expected
    assert arms_reference.activations.shape == (arms_reference.num_frames, arms.mj_model.nu)


def test_what_is_missing_is_of_the_accelerations_that_the_solver_made_producible(arms, arms_reference):
    second = np.diff(arms_reference.qpos, n=2, axis=0) / arms_reference.dt**2
    acceleration = np.concatenate((second[:1], second, second[-1:]))
    costs = optimize_activations(arms, Trajectory(arms_reference.qpos, arms_reference.qvel, acceleration))
    expected = np.abs(costs.residual).max(axis=1).mean()
    assert arms_reference.quality["missing_moment_nm"] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(arms_reference.activations, costs.activations, atol=1e-9)


def test_provenance_is_that_of_the_recording(arms_reference, arms_clip):
    assert arms_reference.name == "arms"
    assert arms_reference.source["sha256"] == arms_clip.source["sha256"]
    assert (arms_reference.source["body"], arms_reference.source["fps"]) == ("stand-in", arms_clip.fps)


@pytest.mark.parametrize(("yaw", "shift"), [(2.5, (4.0, -3.0)), (-0.7, (0.0, 0.0))])
def test_arms_do_not_know_where_the_person_is_or_heads(arms, arms_clip, person, arms_reference, yaw, shift):
    moved = retarget(in_another_place(arms_clip, person, yaw, shift), arms, body=person, config=EXACT)
    np.testing.assert_allclose(moved.qpos, arms_reference.qpos, atol=1e-5)


def test_the_whole_body_goes_where_the_person_goes(body, whole_clip, person):
    config = IKConfig(tolerance=1e-7)
    clip, yaw, shift = whole_clip.clip(0, 30), 2.0, (3.0, -1.0)
    here = retarget(clip, body, body=person, config=config)
    there = retarget(in_another_place(clip, person, yaw, shift), body, body=person, config=config)
    turn = Rotation.from_rotvec([0.0, 0.0, yaw])
    expected = turn.apply(here.site_positions.reshape(-1, 3)).reshape(here.site_positions.shape)
    offset = there.site_positions - expected
    # the person's scale to the model's legs scales the way, too: the offset is one and horizontal
    np.testing.assert_allclose(offset, np.broadcast_to(offset.mean((0, 1)), offset.shape), atol=2e-3)
    assert abs(offset[..., 2]).max() < 2e-3
    assert np.linalg.norm(offset.mean((0, 1))) == pytest.approx(np.hypot(*shift), rel=0.25)


def test_a_mirrored_movement_gives_the_mirrored_reference(arms, arms_clip, person, arms_reference):
    other = retarget(mirrored(arms_clip), arms, body=person, config=EXACT)
    other_side = {"left": "right", "right": "left"}
    sides = [site.partition("_") for site in arms.sites]
    order = [arms.sites.index(f"{other_side.get(side, side)}_{part}") for side, _, part in sides]
    relative = other.site_positions - other.site_positions[:, :1]
    expected = arms_reference.site_positions - arms_reference.site_positions[:, :1]
    expected = expected[:, order] * [-1.0, 1.0, 1.0]
    assert np.abs(relative - expected).max() < 1e-3
    for joint in ("elbow_flex", "shoulder_elv", "elv_angle"):
        left, right = (arms.mj_model.joint(f"{joint}_{side}").qposadr[0] for side in "lr")
        assert np.abs(other.qpos[:, left] - arms_reference.qpos[:, right]).max() < 0.02


def test_a_mirrored_movement_of_the_whole_body_gives_the_mirrored_reference(body, whole_clip, person):
    config, mirror = IKConfig(tolerance=1e-7), Mirror.from_model(body.mj_model)
    one, other = (retarget(clip, body, body=person, config=config) for clip in (whole_clip, mirrored(whole_clip)))
    partners = [body.sites.index(site.replace("right", "left") if "right" in site else site.replace("left", "right"))
                for site in body.sites]  # fmt: skip
    expected = one.site_positions[:, partners] * [-1.0, 1.0, 1.0]
    assert np.linalg.norm(other.site_positions - expected, axis=-1).max() < 2e-3
    turned = mirror.qpos(body.mj_model, torch.from_numpy(one.qpos)).numpy()
    off = np.degrees(np.abs(other.qpos - turned)[:, body.joint_qpos])
    assert off.max() < 1.0, body.dof_names[body.joint_dofs[off.max(axis=0).argmax()]]
    assert other.quality["position_rmse_m"] == pytest.approx(one.quality["position_rmse_m"], rel=0.01)


@pytest.mark.parametrize("name", ["arms", "body"])
def test_the_rest_pose_of_smpl_stretches_the_arms_sideways(name, request, person):
    model = request.getfixturevalue(name)
    local = np.tile(rotations.IDENTITY, (20, len(SMPL_JOINTS), 1))
    local[:, 0] = UPRIGHT
    reference = retarget(Motion("t-pose", local, np.zeros((20, 3)), 50.0), model, body=person)
    site = {name: reference.site_positions[:, index] for index, name in enumerate(model.sites)}
    for side, letter in (("left", "l"), ("right", "r")):
        elbow = reference.qpos[:, model.mj_model.joint(f"elbow_flex_{letter}").qposadr[0]]
        assert elbow.max() < 0.2
        arm = site[f"{side}_hand"] - site[f"{side}_shoulder"]
        assert np.abs(arm[:, 2]).max() < 0.08
        assert (np.abs(arm[:, 0]) > 0.9 * np.linalg.norm(arm, axis=-1)).all()
    assert (site["left_hand"][:, 0] > site["right_hand"][:, 0]).all()  # facing -y, left is +x
    # both arms held out take more than the share of their strength that references may: they sink a little at the ends
    assert np.abs(np.diff(reference.qpos, axis=0)).max() < (1e-6 if model.has_free_root else 0.03)


def test_the_whole_body_stands_on_the_floor(body, body_reference):
    heights = lowest_foot_heights(body, body_reference.qpos)
    assert heights.min() > -1e-3
    assert np.median(np.abs(heights)) < 5e-3


def test_the_height_at_which_a_recording_stands_does_not_matter(body, whole_clip, person, body_reference):
    raised = replace(whole_clip, translation=whole_clip.translation + np.array([0.0, 0.0, 1.3]))
    assert distance(retarget(raised, body, body=person), body_reference) < 1e-3


def test_targets_have_the_models_limb_lengths(arms, arms_reference):
    site = {name: index for index, name in enumerate(arms.sites)}
    for side in ("left", "right"):
        for outer, inner in (("elbow", "shoulder"), ("hand", "elbow")):
            pair = [site[f"{side}_{outer}"], site[f"{side}_{inner}"]]
            own, asked = (
                np.linalg.norm(positions[:, pair[0]] - positions[:, pair[1]], axis=-1)
                for positions in (arms_reference.site_positions, arms_reference.target_positions)
            )
            np.testing.assert_allclose(asked, asked[0], atol=1e-9)
            np.testing.assert_allclose(own, asked, rtol=0.05)


def test_a_clip_that_is_too_short_is_refused_by_name(arms, arms_clip, person):
    with pytest.raises(FileError, match=r"'arms' lasts 0\.000 s: too short"):
        retarget(arms_clip.clip(0, 1), arms, body=person)
