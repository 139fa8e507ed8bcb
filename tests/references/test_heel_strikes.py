"""Heel strikes of walks that are known, and of one that was recorded."""

from __future__ import annotations

import numpy as np
import pytest

from musclewarp.references.heel_strikes import heel_strikes


@pytest.mark.parametrize("turn", [0.0, 0.7, -2.0])
def test_heels_strike_when_the_leg_is_farthest_ahead_wherever_the_walk_heads(body, gait, turn):
    strikes = heel_strikes(body, gait(body, turn=turn))
    np.testing.assert_allclose(strikes["right"], 55 * np.arange(1, 4), atol=1)
    np.testing.assert_allclose(strikes["left"], 27.5 + 55 * np.arange(4), atol=1)


def test_a_small_step_within_a_stride_is_none(body, gait):
    reference = gait(body)
    reference.qpos[:, body.mj_model.joint("hip_flexion_r").qposadr[0]] += 0.05 * np.sin(
        2 * np.pi * 4 * 0.02 * np.arange(201)
    )
    strikes = heel_strikes(body, reference)["right"]
    np.testing.assert_allclose(strikes[-3:], 55 * np.arange(1, 4), atol=5)
    assert len(strikes) <= 4  # the clip begins at a strike, too


def test_who_stands_and_who_has_no_feet_strikes_no_heels(body, arms, arms_reference, gait):
    standing = gait(body)
    standing.qpos[:] = standing.qpos[0]
    assert heel_strikes(body, standing) == {"right": [], "left": []}
    assert heel_strikes(arms, arms_reference) == {}
