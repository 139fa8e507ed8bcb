"""A body of the model's size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclewarp.models import MuscleModel, load_model
from musclewarp.motion.body import Body, load_body
from musclewarp.motion.motion import NUM_BETAS, SMPL_JOINTS
from musclewarp.retarget.shape import SEGMENTS, ShapeFit, fit_lengths, fit_shape, segment_lengths


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body("neutral", "stand-in")


@pytest.fixture(scope="module")
def whole() -> MuscleModel:
    return load_model("myofullbody")


def lengths_of(body: Body, joints: torch.Tensor) -> dict[str, float]:
    fit = ShapeFit(body, dict.fromkeys(SEGMENTS, 0.0))
    return dict(zip(fit.segments, fit.errors(joints).tolist(), strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_random_shapes_are_recovered_from_their_segments_to_2_mm(body, seed):
    betas = torch.zeros(1, NUM_BETAS, dtype=torch.float64)
    betas[0, :10] = torch.from_numpy(np.random.default_rng(seed).normal(size=10))
    joints = body.rest_joints(betas)[0]
    joints = joints - joints[0]
    found = fit_lengths(body, lengths_of(body, joints))
    # legs and arms from where they begin: nobody measures how the trunk's length is shared out
    for first, chain in (("hip", "knee ankle foot"), ("shoulder", "elbow wrist")):
        for side in ("left", "right"):
            at = [SMPL_JOINTS.index(f"{side}_{joint}") for joint in (first, *chain.split())]
            limb, expected = (rest[at] - rest[at[0]] for rest in (found.rest_joints, joints.numpy()))
            assert np.linalg.norm(limb - expected, axis=1).max() < 2e-3
    assert max(abs(error) for error in found.errors.values()) < 5e-4


def test_the_stand_in_takes_the_models_segment_lengths_within_a_millimetre(body, whole):
    shape = fit_shape(body, whole)
    assert set(shape.errors) == set(SEGMENTS)
    assert max(abs(error) for error in shape.errors.values()) < 1e-3
    assert np.abs(shape.betas).max() < 6
    np.testing.assert_array_equal(shape.rest_joints[0], 0.0)
    assert fit_shape(body, whole) is shape, "once for all clips"


def test_lengths_are_those_of_the_default_posture(whole):
    lengths = segment_lengths(whole)
    assert lengths["left thigh"] == pytest.approx(0.404, abs=2e-3)
    assert lengths["left thigh"] == pytest.approx(lengths["right thigh"], rel=1e-3)


def test_a_model_without_legs_has_only_the_segments_of_its_arms():
    lengths = segment_lengths(load_model("bimanual"))
    assert {name.split()[-1] for name in lengths} == {"width", "arm", "forearm"}


def test_a_strong_prior_keeps_the_mean_shape(body, whole):
    fit = ShapeFit(body, segment_lengths(whole), prior=1e4)
    fit.minimise()
    assert fit.betas.detach().abs().max() < 1e-3
