"""Every source on every whole body: DeepMimic's acrobatics, and motions made by hand, on both persons."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from musclewarp.cli import main
from musclewarp.models import MuscleModel
from musclewarp.motion import motion as motion_module
from musclewarp.motion import rotations
from musclewarp.motion.motion import SMPL_JOINTS, Motion
from musclewarp.motion.read import read_motion
from musclewarp.references.quality import limit_violation
from musclewarp.references.reference import Reference
from musclewarp.retarget import retarget

WHOLE = ("body", "ms_human")


@pytest.fixture(params=WHOLE)
def person(request) -> MuscleModel:
    return request.getfixturevalue(request.param)


def site(reference: Reference, name: str) -> np.ndarray:
    return reference.site_positions[:, reference.sites.index(name)]


def check_constraints(model: MuscleModel, reference: Reference):
    assert reference.quality["coupling_residual_max"] < 1e-6
    assert limit_violation(model, reference.qpos).max() < 1e-3


def test_a_cartwheel_goes_once_round_without_a_jump_of_the_root(person, data_root):
    clip = read_motion(data_root / "motions" / "deepmimic" / "humanoid3d_cartwheel.txt")
    reference = retarget(clip.clip(50, 120), person)
    check_constraints(person, reference)
    assert reference.quality["target_rmse_m"] < 0.03
    hips = (site(reference, "left_hip") + site(reference, "right_hip")) / 2
    shoulders = (site(reference, "left_shoulder") + site(reference, "right_shoulder")) / 2
    assert (shoulders - hips)[:, 2].min() < -0.3  # upside down
    steps = rotations.multiply(rotations.conjugate(reference.qpos[:-1, 3:7]), reference.qpos[1:, 3:7])
    assert np.linalg.norm(rotations.to_rotvec(steps), axis=1).max() < 0.3


@pytest.mark.parametrize("rate", [30, 50])
def test_a_backflip_leaves_no_limb_behind(person, data_root, rate):
    clip = read_motion(data_root / "motions" / "deepmimic" / "humanoid3d_backflip.txt")
    reference = retarget(clip, person, dt=1 / rate)
    check_constraints(person, reference)
    assert reference.quality["target_rmse_m"] < 0.016
    off = np.linalg.norm(reference.site_positions - reference.target_positions, axis=-1)
    assert off.max() < 0.085


def test_an_arm_raised_by_hand_is_raised_by_the_model(person):
    turns = np.tile(rotations.IDENTITY, (31, len(SMPL_JOINTS), 1))
    turns[:, 0] = rotations.from_rotvec([np.pi / 2, 0, 0])
    lowered = -np.linspace(1.2, 0.0, 31)[:, None] * [0, 0, 1]  # from hanging, nearly, to sideways
    turns[:, SMPL_JOINTS.index("left_shoulder")] = rotations.from_rotvec(lowered)
    turns[:, SMPL_JOINTS.index("right_shoulder")] = rotations.from_rotvec([0, 0, 1.2])
    reference = retarget(Motion("raise", turns, np.zeros((31, 3)), 50.0), person)
    check_constraints(person, reference)
    arm = {side: site(reference, f"{side}_hand") - site(reference, f"{side}_shoulder") for side in ("left", "right")}
    left, right = (np.arctan2(-v[:, 2], np.abs(v[:, 0])) for v in arm.values())
    assert left[0] > 1.0
    assert abs(left[-1]) < 0.2
    assert right.min() > 1.0
    assert (arm["left"][-1, 0], np.sign(arm["right"][-1, 0])) == (pytest.approx(0.55, abs=0.1), -1)


def test_the_example_of_a_motion_by_hand_runs():
    assert doctest.testmod(motion_module).attempted >= 5
    assert doctest.testmod(motion_module).failed == 0


def test_the_command_takes_deepmimic_clips_for_ms_human(data_root, monkeypatch, tmp_path, ms_human):
    monkeypatch.setenv("MUSCLEWARP_DATA", str(data_root))
    clip = data_root / "motions" / "deepmimic" / "humanoid3d_run.txt"
    broken = tmp_path / "broken.json"
    broken.write_text('{"Frames": [[1.0]]}')
    out = tmp_path / "refs"
    assert main(["retarget", str(clip), str(broken), "--model", "ms_human_700", "--out", str(out)]) == 2
    reference = Reference.load(out / "humanoid3d_run.ref.safetensors", ms_human)
    assert reference.source["body"] == "deepmimic"
    assert reference.source["loop"] == "wrap"
    assert reference.quality["target_rmse_m"] < 0.03
    assert not (out / "broken.ref.safetensors").exists()
