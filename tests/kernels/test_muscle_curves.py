"""Muscle curves against `mju_muscleGain` and `mju_muscleBias`, and forces against a stepped model."""

from __future__ import annotations

import itertools

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.errors import ConfigError
from musclewarp.kernels import muscle_curves as curves_module
from musclewarp.kernels.muscle_curves import gain_and_bias, muscle_curves, muscle_force
from musclewarp.models import MuscleModel

# r0, r1, peak force, scale, lmin, lmax, vmax, fpmax, fvmax; a negative peak force stands for scale / acc0
GAINPRM = np.array(
    [
        [0.75, 1.05, -1.0, 200.0, 0.5, 1.6, 1.5, 1.3, 1.2],  # MuJoCo's defaults
        [0.3, 1.3, 300.0, 1.0, 0.0, 1.8, 10.0, 0.45, 1.4],
        [0.7, 1.1, 500.0, 1.0, 0.4, 1.5, 3.0, 0.9, 1.0],  # no eccentric force: the velocity curve has a corner
    ]
)
BIASPRM = GAINPRM.copy()
BIASPRM[1, :2] = 0.5, 1.2  # a passive side with another optimal length
LENGTHRANGE = np.array([[0.2, 0.4], [0.1, 0.5], [0.3, 0.36]])
ACC0 = np.array([2.0, 30.0, 0.5])
KINKS_L, KINKS_V = [0.4, 0.5, 0.75, 1.0, 1.25, 1.3, 1.5, 1.6, 1.8], [-1.0, 0.0, 0.2, 0.4]


def tensors(*arrays, device="cpu", dtype=torch.float64):
    return [torch.as_tensor(array, dtype=dtype, device=device) for array in arrays]


def grid():
    """Lengths and velocities `(P, 3)` of the muscles at all L in 0.3..1.8 and V in -1.5..1.5, kinks included."""
    at = np.array(
        list(itertools.product([*np.linspace(0.3, 1.8, 46), *KINKS_L], [*np.linspace(-1.5, 1.5, 31), *KINKS_V]))
    )
    optimal = np.ptp(LENGTHRANGE, axis=1) / (GAINPRM[:, 1] - GAINPRM[:, 0])
    length = LENGTHRANGE[:, 0] + (at[:, :1] - GAINPRM[:, 0]) * optimal
    return at, length, at[:, 1:] * optimal * GAINPRM[:, 6]


def mujoco_gain_and_bias(length, velocity):
    gain, bias = np.empty_like(length), np.empty_like(length)
    for (i, j), at in np.ndenumerate(length):
        span = LENGTHRANGE[j][:, None]
        gain[i, j] = mujoco.mju_muscleGain(at, velocity[i, j], span, ACC0[j], GAINPRM[j][:, None])
        bias[i, j] = mujoco.mju_muscleBias(at, span, ACC0[j], BIASPRM[j][:, None])
    return gain, bias


def test_gain_and_bias_are_those_of_mujoco_over_the_whole_range_and_at_the_kinks(device):
    _, length, velocity = grid()
    arrays = tensors(length, velocity, GAINPRM, BIASPRM, LENGTHRANGE, ACC0, device=device)
    for ours, theirs in zip(gain_and_bias(*arrays), mujoco_gain_and_bias(length, velocity), strict=True):
        np.testing.assert_allclose(ours.cpu(), theirs, rtol=1e-12, atol=1e-10)
        assert 0.3 < (theirs < 0).mean() < 0.9


def test_float32_differs_by_rounding_only(device):
    _, length, velocity = grid()
    arrays = tensors(length, velocity, GAINPRM, BIASPRM, LENGTHRANGE, ACC0, device=device, dtype=torch.float32)
    for ours, theirs in zip(gain_and_bias(*arrays), mujoco_gain_and_bias(length, velocity), strict=True):
        assert ours.dtype == torch.float32
        np.testing.assert_allclose(ours.cpu(), theirs, atol=1e-5 * abs(theirs).max())


def test_operating_point_and_curves_have_their_textbook_values():
    at, length, velocity = grid()
    curves = muscle_curves(*tensors(length, velocity, GAINPRM, BIASPRM, LENGTHRANGE))
    np.testing.assert_allclose(curves.fibre_length, np.repeat(at[:, :1], 3, axis=1), atol=1e-12)
    np.testing.assert_allclose(curves.fibre_velocity, np.repeat(at[:, 1:], 3, axis=1), atol=1e-12)
    optimal, isometric = np.isclose(at[:, 0], 1.0), np.isclose(at[:, 1], 0.0)
    np.testing.assert_allclose(curves.active_force_length[optimal], 1.0)
    np.testing.assert_allclose(curves.force_velocity[isometric], 1.0)
    assert not curves.force_velocity[at[:, 1] <= -1].any()
    np.testing.assert_allclose(curves.force_velocity[at[:, 1] > 0.41, 1], 1.4)
    at_lmax = np.isclose(at[:, 0], 1.6)
    np.testing.assert_allclose(
        curves.passive_force[at_lmax, 0], 1.3 * 1.5
    )  # half at the end of the parabola, then a line


def test_forces_are_those_of_a_stepped_body(body: MuscleModel):
    m = body.mj_model
    data = mujoco.MjData(m)
    rng = np.random.default_rng(0)
    states = []
    for _ in range(5):
        data.ctrl[:] = rng.uniform(size=m.nu)
        mujoco.mj_step(m, data, 10)
        mujoco.mj_forward(m, data)
        states.append([data.actuator_length, data.actuator_velocity, data.act, data.actuator_force])
        states[-1] = [value.copy() for value in states[-1]]
    length, velocity, act, force = tensors(*np.array(states).transpose(1, 0, 2))
    parameters = tensors(m.actuator_gainprm, m.actuator_biasprm, m.actuator_lengthrange, m.actuator_acc0)
    np.testing.assert_allclose(muscle_force(length, velocity, act, *parameters), force, rtol=1e-10, atol=1e-9)
    assert (force < -1).double().mean() > 0.5


def test_gradients_are_those_of_finite_differences(device):
    at, length, velocity = grid()
    inside = (abs(at[:, :1] - KINKS_L).min(axis=1) > 1e-3) & (abs(at[:, 1:] - KINKS_V).min(axis=1) > 1e-3)
    some = np.flatnonzero(inside)[::45]
    x, v = tensors(length[some], velocity[some], device=device)
    unit = GAINPRM.copy()
    unit[:, 2] = 1.0
    parameters = tensors(unit, unit, LENGTHRANGE, device=device)
    inputs = x.requires_grad_(), v.requires_grad_(), torch.full_like(x, 0.7).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, v, a: muscle_curves(x, v, *parameters), inputs)
    acc0 = torch.ones(3, dtype=torch.float64, device=device)
    assert torch.autograd.gradcheck(lambda x, v, a: muscle_force(x, v, a, *parameters, acc0), inputs)


def test_slopes_are_continuous_where_the_curves_change():
    muscle = tensors(GAINPRM[:1], GAINPRM[:1], np.array([[0.75, 1.05]]))  # an optimal length of 1 m
    kinks = torch.tensor([0.5, 0.75, 1.0, 1.3, 1.6], dtype=torch.float64)[:, None]
    speeds = torch.tensor([-1.0, 0.0, 0.2, -1.0, 0.0], dtype=torch.float64)[:, None] * 1.5
    slopes = []
    for side in (-1e-9, 1e-9):
        inputs = (kinks + side).requires_grad_(), (speeds + side).requires_grad_()
        curves = muscle_curves(*inputs, *muscle)
        total = curves.active_force_length + curves.passive_force + curves.force_velocity
        slopes.append(torch.stack(torch.autograd.grad(total.sum(), inputs)))
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-6)
    assert slopes[0].abs().max() > 1


def test_op_keeps_torchs_rules(device):
    _, length, velocity = grid()
    x, v, *parameters = tensors(length[:4], velocity[:4], GAINPRM, BIASPRM, LENGTHRANGE, device=device)
    torch.library.opcheck(curves_module._curves_op, (x.requires_grad_(), v.requires_grad_(), *parameters))


def test_every_world_may_have_its_own_muscles(device):
    at, length, velocity = grid()
    some = np.flatnonzero((at[:, 0] > 1.05) & (at[:, 0] < 1.2))
    x, v, *parameters = tensors(length[some], velocity[some], GAINPRM, BIASPRM, LENGTHRANGE, device=device)
    own = [value.expand(len(some), *value.shape).clone() for value in parameters]
    own[0][7, 1, 5] = 1.3
    shared, changed = muscle_curves(x, v, *parameters), muscle_curves(x, v, *own)
    assert (shared.active_force_length != changed.active_force_length).nonzero().tolist() == [[7, 1]]
    for name in ("fibre_length", "force_velocity", "passive_force"):
        assert torch.equal(getattr(shared, name), getattr(changed, name))


def test_what_does_not_fit_together_is_named():
    _, length, velocity = grid()
    x, v, gainprm, biasprm, lengthrange = tensors(length, velocity, GAINPRM, BIASPRM, LENGTHRANGE)
    with pytest.raises(ConfigError, match="nine or more"):
        muscle_curves(x, v, gainprm[:, :8], biasprm, lengthrange)
    with pytest.raises(ConfigError, match="'velocity' is"):
        muscle_curves(x, v.float(), gainprm, biasprm, lengthrange)
    with pytest.raises(ConfigError, match="'gainprm' has shape"):
        muscle_curves(x, v, gainprm[:2], biasprm, lengthrange)
    with pytest.raises(ConfigError, match="no gradient for the muscles"):
        muscle_curves(x, v, gainprm.requires_grad_(), biasprm, lengthrange)
