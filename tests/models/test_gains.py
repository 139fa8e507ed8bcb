"""Joint gains: the model's table, and a rule for what it does not name."""

from __future__ import annotations

import numpy as np

from musclewarp.models.gains import joint_gains


def test_the_longest_name_in_the_table_that_fits_counts(body):
    gains = dict(zip((body.dof_names[dof] for dof in body.joint_dofs), np.transpose(joint_gains(body)), strict=True))
    for name, entry in (("hip_flexion_r", "hip"), ("hip_rotation_l", "hip_rotation"), ("flexion_r", "flexion")):
        assert tuple(gains[name]) == body.layout.gains[entry]


def test_joints_that_no_table_names_swing_as_fast_and_as_damped_as_each_other(arms, monkeypatch):
    monkeypatch.setattr(arms, "layout", type(arms.layout)(**{**vars(arms.layout), "gains": {}}))
    stiffness, damping = joint_gains(arms)
    inertia = stiffness / 12**2
    names = [arms.dof_names[dof] for dof in arms.joint_dofs]
    np.testing.assert_allclose(damping / (2 * np.sqrt(stiffness * inertia)), 0.7)
    assert 0.03 < inertia[names.index("elbow_flex_r")] < 0.1, "a forearm and a hand, kg m^2"
    assert (stiffness > 0).all()
