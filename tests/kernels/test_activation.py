"""Activation dynamics against `mju_muscleDynamics`, a stepped model and an integrated ODE."""

from __future__ import annotations

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest
import scipy.integrate
import torch
import warp as wp
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.errors import ConfigError, ModelError
from musclewarp.kernels.activation import activation_step, write_act_dot

SMOOTHING = (0.0, 0.1, 1.5)
STEP = 0.003


def cases(seed=0, worlds=40, dtype=torch.float64, device="cpu"):
    """Excitations and activations also outside [0, 1], and three muscles: tau_act, tau_deact, smoothing."""
    rng = np.random.default_rng(seed)
    excitation, activation = rng.uniform(-0.5, 1.5, (worlds, 3)), rng.uniform(-0.2, 1.2, (worlds, 3))
    muscles = rng.uniform(0.005, 0.02, 3), rng.uniform(0.03, 0.08, 3), np.array(SMOOTHING)
    return [torch.as_tensor(value, dtype=dtype, device=device) for value in (excitation, activation, *muscles)]


def rate(excitation, activation, *muscles):
    """MuJoCo C's act_dot, element by element."""
    arrays = [value.cpu().double().numpy() for value in (excitation, activation, *muscles)]
    return np.array(
        [
            [mujoco.mju_muscleDynamics(u, a, np.array([[p] for p in prm])) for u, a, *prm in zip(*row, strict=True)]
            for row in ((arrays[0][i], arrays[1][i], *arrays[2:]) for i in range(len(arrays[0])))
        ]
    )


def exact(excitation, activation, *muscles):
    """e + (a - e) exp(-h / tau), with tau read off MuJoCo's rate."""
    act_dot = rate(excitation, activation, *muscles)
    a = activation.cpu().double().numpy()
    gap = excitation.cpu().double().clamp(0, 1).numpy() - a
    return a + gap * -np.expm1(-STEP * act_dot / gap)


def test_euler_step_is_that_of_mujoco_with_and_without_smoothing(device):
    inputs = cases(device=device)
    advanced = activation_step(*inputs, STEP, exact=False).cpu()
    np.testing.assert_allclose(advanced, inputs[1].cpu().numpy() + STEP * rate(*inputs), rtol=1e-14, atol=1e-14)


def test_exact_step_decays_with_the_time_constant_of_mujoco(device):
    inputs = cases(1, device=device)
    np.testing.assert_allclose(activation_step(*inputs, STEP).cpu(), exact(*inputs), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("is_exact", [True, False])
def test_float32_differs_by_rounding_only(device, is_exact):
    inputs = cases(2, device=device)
    single = activation_step(*[value.float() for value in inputs], STEP, is_exact)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.cpu(), activation_step(*inputs, STEP, is_exact).cpu(), atol=1e-6)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1e-4, 1.0))
@settings(deadline=None, max_examples=50)
def test_exact_step_stays_between_activation_and_excitation_however_long(excitation, activation, step):
    e, a = (torch.full((1, 3), value, dtype=torch.float64) for value in (excitation, activation))
    advanced = activation_step(e, a, *cases()[2:], step)
    assert (advanced >= min(excitation, activation) - 1e-15).all()
    assert (advanced <= max(excitation, activation) + 1e-15).all()


@pytest.mark.parametrize("is_exact", [True, False])
def test_many_short_steps_integrate_the_ode(is_exact):
    muscles = [value[:1] for value in cases()[2:]]
    e, a, step = torch.full((1, 1), 0.8, dtype=torch.float64), torch.full((1, 1), 0.1, dtype=torch.float64), 1e-5
    prm = np.array([[float(value)] for value in muscles])

    def slope(_: float, y: np.ndarray) -> list[float]:
        return [mujoco.mju_muscleDynamics(0.8, y[0], prm)]

    truth = scipy.integrate.solve_ivp(slope, (0, 0.01), [0.1], rtol=1e-10, atol=1e-12).y[0, -1]
    for _ in range(1000):
        a = activation_step(e, a, *muscles, step, is_exact)
    assert float(a) == pytest.approx(truth, abs=2e-4)


@pytest.mark.parametrize("limited", [True, False])
def test_activation_range_is_kept_as_a_stepped_model_keeps_it(limited):
    """With 20 ms steps Euler overshoots 1, and only `actlimited` holds it."""
    xml = f"""<mujoco><option timestep=".02"/><worldbody><body><joint name="j"/><geom size=".1"/></body></worldbody>
      <actuator><general joint="j" dyntype="muscle" dynprm=".01 .04 0"
        actlimited="{str(limited).lower()}" actrange="0 1"/></actuator></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    act = torch.zeros(1, 1, dtype=torch.float64)
    muscle = [torch.tensor([value], dtype=torch.float64) for value in (0.01, 0.04, 0.0)]
    seen = []
    for excitation in (1.0, 0.3, 0.9, 0.0):
        data.ctrl[:] = excitation
        mujoco.mj_step(model, data)
        bounds = (0.0, 1.0) if limited else (None, None)
        act = activation_step(torch.full_like(act, excitation), act, *muscle, 0.02, False, *bounds)
        np.testing.assert_allclose(act[0], data.act, rtol=1e-14)
        seen.append(float(act))
    assert (max(seen) > 1) == (not limited)


@pytest.mark.parametrize("is_exact", [True, False])
def test_gradients_are_those_of_finite_differences(device, is_exact):
    excitation, activation, *muscles = cases(3, worlds=12, device=device)
    near = (excitation - activation).abs() < 1e-3
    assert not near.any(), "a kink: choose another seed"
    inputs = excitation.clamp(0.01, 0.99).requires_grad_(), activation.clamp(0.01, 0.99).requires_grad_()
    assert torch.autograd.gradcheck(lambda e, a: activation_step(e, a, *muscles, STEP, is_exact), inputs)


def test_a_clipped_excitation_has_no_gradient_and_one_at_the_limit_has():
    excitation = torch.tensor([[-0.1, 0.0, 1.0, 1.1]], dtype=torch.float64, requires_grad=True)
    muscle = [torch.tensor([value], dtype=torch.float64) for value in (0.01, 0.04, 0.0)]
    activation_step(excitation, torch.full_like(excitation, 0.5), *muscle, STEP).sum().backward()
    assert excitation.grad is not None
    assert (excitation.grad != 0).tolist() == [[False, True, True, False]]


def test_op_keeps_torchs_rules(device):
    excitation, activation, *muscles = cases(4, worlds=2, device=device)
    inputs = excitation.requires_grad_(), activation.requires_grad_()
    torch.library.opcheck(activation_step, (*inputs, *muscles, STEP, True))
    torch.library.opcheck(activation_step, (*inputs, *muscles, STEP, False, 0.0, 1.0))


def test_views_and_worlds_with_their_own_muscles_are_read_where_they_lie(device):
    excitation, activation, *muscles = cases(5, device=device)
    expected = activation_step(excitation, activation, *muscles, STEP)
    wide = torch.full((40, 7), torch.nan, dtype=torch.float64, device=device)
    wide[:, 1::2] = activation
    own = [value.expand(40, 3).contiguous() for value in muscles]
    result = activation_step(excitation.T.contiguous().T, wide[:, 1::2], *own, STEP)
    assert torch.equal(result, expected)
    assert torch.equal(wide[:, 1::2], activation)


def test_what_does_not_fit_together_is_named():
    excitation, activation, *muscles = cases()
    with pytest.raises(ConfigError, match=r"'tau_act' is torch\.float32"):
        activation_step(excitation, activation, muscles[0].float(), *muscles[1:], STEP)
    with pytest.raises(ConfigError, match=r"'smoothing' has shape \(2,\)"):
        activation_step(excitation, activation, *muscles[:2], muscles[2][:2], STEP)
    with pytest.raises(ConfigError, match="positive step"):
        activation_step(excitation, activation, *muscles, 0.0)
    with pytest.raises(ConfigError, match="float32 or float64"):
        activation_step(excitation.half(), activation.half(), *[value.half() for value in muscles], STEP)
    with pytest.raises(ConfigError, match="no gradient for time constants"):
        activation_step(excitation, activation, muscles[0].requires_grad_(), *muscles[1:], STEP)


@pytest.mark.xdist_group("warp")
@pytest.mark.parametrize("is_exact", [True, False])
def test_callback_makes_mujoco_warp_take_our_step(is_exact):
    xml = f"""<mujoco><option timestep="{STEP}"/><worldbody><body><joint name="j"/><geom size=".1"/></body></worldbody>
      <actuator><muscle joint="j" lengthrange="0 1" timeconst=".01 .04" tausmooth=".2"/>
        <muscle joint="j" lengthrange="0 1" timeconst=".015 .05"/></actuator></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    rng = np.random.default_rng(0)
    act, ctrl = rng.uniform(size=(2, 5, 2)).astype(np.float32)
    with wp.ScopedDevice("cpu"):
        m, d = mjw.put_model(model), mjw.make_data(model, 5)
        d.act.assign(act)
        d.ctrl.assign(ctrl)
        d.act_dot.fill_(np.nan)
        m.callback.act_dyn = lambda m, d: write_act_dot(
            d.ctrl, d.act, m.actuator_dynprm, m.opt.timestep, d.act_dot, is_exact
        )
        mjw.fwd_actuation(m, d)
    taken = act + STEP * d.act_dot.numpy()  # mujoco_warp's own next activation
    muscles = torch.tensor(model.actuator_dynprm[:, :3].T.copy()).unbind()
    expected = activation_step(torch.tensor(ctrl).double(), torch.tensor(act).double(), *muscles, STEP, is_exact)
    np.testing.assert_allclose(taken, expected, atol=2e-7)


def test_act_dot_of_models_with_other_actuators_is_refused():
    ctrl, act = wp.zeros((2, 3), device="cpu"), wp.zeros((2, 2), device="cpu")
    dynprm = wp.zeros((1, 3), dtype=wp.types.vector(10, wp.float32), device="cpu")
    with pytest.raises(ModelError, match="every actuator is a muscle"):
        write_act_dot(ctrl, act, dynprm, wp.full(1, STEP, dtype=float, device="cpu"), act)
