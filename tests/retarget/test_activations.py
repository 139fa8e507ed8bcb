"""Activations of whole bodies, whose ground pushes as the balance asks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclewarp.dynamics import accelerations
from musclewarp.references.loop import cut_loop
from musclewarp.references.quality import lowest_foot_heights
from musclewarp.references.reference import make_reference
from musclewarp.retarget import retarget
from musclewarp.retarget.activations import with_activations

FRAMES, DT = 30, 0.02


def standing(body, squat: float = 0.0, lift: float = 0.0):
    """A body that stands, or bends its knees a little, with its feet on the floor but for `lift` m."""
    qpos = np.tile(body.posture(body.layout.rest), (FRAMES, 1))
    bend = squat * (1 - np.cos(2 * np.pi * np.arange(FRAMES) / (FRAMES - 1))) / 2
    for joint, share in (("hip_flexion", 1.0), ("knee_angle", 2.0), ("ankle_angle", 1.0)):
        for side in "rl":
            qpos[:, body.mj_model.joint(f"{joint}_{side}").qposadr[0]] += share * bend
    qpos = body.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    qpos[:, 2] += lift - lowest_foot_heights(body, qpos)
    return make_reference(body, qpos, DT, "standing")


def test_a_standing_body_has_activations_and_lacks_nothing(body):
    found = with_activations(body, standing(body))
    assert found.activations.shape == (FRAMES, body.mj_model.nu)
    assert 0.0 < found.activations.max() <= 1.0
    assert found.quality["impossible_frames"] == 0.0
    assert found.quality["missing_moment_nm"] < 0.3
    assert found.quality["missing_root_force_n"] < 5.0


def test_a_body_that_hangs_in_the_air_lacks_its_weight(body):
    found = with_activations(body, standing(body, lift=0.5))
    assert found.quality["missing_root_force_n"] == pytest.approx(9.81 * body.mj_model.body_mass.sum(), rel=0.01)


def test_a_movement_beyond_human_strength_is_impossible(body):
    qpos = standing(body).qpos.copy()
    joint = body.mj_model.joint("knee_angle_r").qposadr[0]
    qpos[:, joint] += 0.6 * (1 - np.cos(2 * np.pi * np.arange(FRAMES) / 12.0))
    qpos = body.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    qpos[:, 2] -= lowest_foot_heights(body, qpos)
    swing = make_reference(body, qpos, DT / 4, "kick")  # sixteen bends a second
    assert with_activations(body, swing).quality["impossible_frames"] > 0.5


def test_accelerations_are_filtered_as_they_say():
    """At the cut-off a zero-phase filter of second order, there and back, leaves half of an amplitude."""
    time = np.arange(400) * DT
    for frequency, gain in ((0.5, 1.0), (6.0, 0.5), (20.0, 0.0)):
        wave = np.sin(2 * np.pi * frequency * time)[:, None]
        ratio = np.ptp(accelerations(wave, DT, cutoff_hz=6.0)[100:300]) / np.ptp(accelerations(wave, DT)[100:300])
        assert ratio == pytest.approx(gain, abs=0.02)
    assert accelerations(np.zeros((4, 2)), DT, cutoff_hz=6.0).shape == (4, 2)


def test_activations_can_be_left_out(body, whole_clip, person):
    clip = whole_clip.clip(0, round(0.2 * whole_clip.fps))
    assert retarget(clip, body, body=person, activations=False).activations is None
    with_them = retarget(clip, body, body=person)
    assert with_them.activations is not None
    assert {"missing_moment_nm", "impossible_frames", "missing_root_force_n"} <= with_them.quality.keys()


def test_a_loop_keeps_the_activations(body):
    squat = with_activations(body, standing(body, squat=0.1))
    loop = cut_loop(body, squat, (3 * DT, 26 * DT))
    assert loop.activations.shape == (24, body.mj_model.nu)
    np.testing.assert_allclose(loop.activations[-1], loop.activations[0], atol=1e-9)
