"""Fatigue against the model's three equations, its published asymptotes, and measured endurance times."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.errors import ConfigError
from musclewarp.kernels import fatigue
from musclewarp.kernels.fatigue import PUBLISHED, fatigue_step, published_parameters
from musclewarp.models import MuscleModel

# Frey-Law and Avin 2010, Ergonomics 53:109, Table 2 (as MyoSuite quotes it): endurance time = b0 load^b1 s, 194 studies
MEASURED = {
    "ankle": (34.71, -2.06),
    "knee": (19.38, -1.88),
    "trunk": (22.69, -2.27),
    "shoulder": (14.86, -1.83),
    "elbow": (17.98, -2.21),
    "hand": (33.55, -1.61),
    "general": (21.92, -1.98),
}
# Seconds that 20, 50 and 80 % are held with the parameters of Frey-Law et al. 2012 in MyoSuite's implementation
# (its docs/source/fatigue_validation.rst)
ELSEWHERE = {
    "ankle": (863, 179, 43.0),
    "knee": (340, 70.3, 16.9),
    "trunk": (675, 140, 33.6),
    "shoulder": (274, 57.7, 13.9),
    "elbow": (566, 116, 27.8),
    "hand": (473, 106, 25.8),
    "general": (517, 108, 26.1),
}
# R / (F + R) of Frey-Law et al. 2012, Table 1: the load in % that can be held for ever
ASYMPTOTE = {"ankle": 8.96, "knee": 9.04, "trunk": 9.04, "shoulder": 8.45, "elbow": 9.34, "hand": 6.13, "general": 8.57}
REGIONS = list(PUBLISHED)


def rested(worlds=1, dtype=torch.float64, device="cpu"):
    return torch.zeros(2, worlds, len(REGIONS), dtype=dtype, device=device).unbind()


def parameters(dtype=torch.float64, device="cpu"):
    return published_parameters(REGIONS, dtype, device)


def paper(time, state, load, region, multiplier=1.0):
    """The three flows of Xia and Frey-Law 2008, with LD = LR = 10."""
    active, fatigued, resting = state
    tire, recover = PUBLISHED[region][0] * active, PUBLISHED[region][1] * multiplier * fatigued
    gap = load - active
    recruited = 10 * (resting if active < load and resting < gap else gap)
    return [recruited - tire, tire - recover, recover - recruited]


@pytest.mark.parametrize("step", [0.01, 1.0, 7.0])
def test_shares_are_those_of_the_three_equations_integrated_by_scipy(device, step):
    active, fatigued = rested(device=device)
    truth = np.tile([0.0, 0.0, 1.0], (len(REGIONS), 1))
    for load in (0.5, 0.9, 0.2, 0.0):
        target = torch.full_like(active, load)
        for _ in range(20):
            active, fatigued = fatigue_step(active, fatigued, target, parameters(device=device), step)
        for i, region in enumerate(REGIONS):
            multiplier = PUBLISHED[region][2] if load == 0 else 1.0
            solution = scipy.integrate.solve_ivp(
                paper, (0, 20 * step), truth[i], "LSODA", args=(load, region, multiplier), rtol=1e-9, atol=1e-12
            )
            truth[i] = solution.y[:, -1]
        ours = torch.stack((active, fatigued, 1 - active - fatigued), -1)[0].cpu()
        np.testing.assert_allclose(ours, truth, atol=2e-5)
    np.testing.assert_allclose(truth.sum(axis=1), 1.0)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=6), st.floats(1e-3, 100.0))
@settings(deadline=None, max_examples=50)
def test_all_three_shares_stay_between_none_and_all(loads, step):
    active, fatigued = rested()
    for load in loads:
        active, fatigued = fatigue_step(active, fatigued, torch.full_like(active, load), parameters(), step)
        for share in (active, fatigued, 1 - active - fatigued):
            assert (share >= -1e-9).all()
            assert (share <= 1 + 1e-9).all()


def endurance(loads, step=0.25, limit=3000.0, shortfall=0.01):
    """Seconds until the target load `(N,)` is missed by a hundredth, `(N, regions)`; inf where it is not."""
    target = torch.tensor(loads, dtype=torch.float64)[:, None].expand(-1, len(REGIONS))
    active, fatigued = rested(len(loads))
    times = torch.full_like(target, torch.inf).clone()
    for count in range(1, int(limit / step) + 1):
        active, fatigued = fatigue_step(active, fatigued, target, parameters(), step)
        if count * step > 2:  # recruitment takes some tenths of a second
            times[(active < (1 - shortfall) * target) & times.isinf()] = count * step
        if times.isfinite().all():
            break
    return times


def test_loads_are_held_for_the_measured_times():
    loads = [0.2, 0.35, 0.5, 0.65]
    times = endurance(loads)
    measured = torch.tensor([[b0 * load**b1 for b0, b1 in (MEASURED[r] for r in REGIONS)] for load in loads])
    ratio = times / measured
    # 95 % of people lie within 29 to 47 % of the mean (Frey-Law et al. 2012, discussion)
    assert ratio.min() > 0.71
    assert ratio.max() < 1.47
    assert (times[:-1] > times[1:]).all(), "a heavier load is held for a shorter time"
    at_half = dict(zip(REGIONS, times[2].tolist(), strict=True))
    assert max(at_half, key=lambda region: at_half[region]) == "ankle"
    assert min(at_half, key=lambda region: at_half[region]) == "shoulder"


def test_rates_span_those_of_the_papers_abstract():
    """Frey-Law et al. 2012: ankles tire and recover slowest, shoulders fastest."""
    F, R, _ = np.transpose(list(PUBLISHED.values()))
    assert (F.min(), F.max()) == (0.00589, 0.0182) == (PUBLISHED["ankle"][0], PUBLISHED["shoulder"][0])
    assert (R.min(), R.max()) == (0.00058, 0.00168) == (PUBLISHED["ankle"][1], PUBLISHED["shoulder"][1])


def test_loads_are_held_as_long_as_in_an_independent_implementation():
    elsewhere = np.transpose([ELSEWHERE[region] for region in REGIONS])
    np.testing.assert_allclose(endurance([0.2, 0.5, 0.8], shortfall=2e-3), elsewhere, rtol=0.03)


def test_endurance_ends_when_no_rested_unit_is_left():
    """With instant recruitment M_A = TL, so that M_F = 1 - TL after -ln(1 - R (1 - TL) / (F TL)) / R."""
    F, R = (torch.tensor([PUBLISHED[region][i] for region in REGIONS]) for i in (0, 1))
    expected = -torch.log1p(-R * 0.5 / (F * 0.5)) / R
    np.testing.assert_allclose(endurance([0.5])[0], expected, rtol=0.03)


@pytest.mark.parametrize("region", REGIONS)
def test_what_is_left_after_hours_is_the_published_asymptote(region):
    muscle = published_parameters([region])
    active, fatigued = torch.zeros(2, 1, 1, dtype=torch.float64).unbind()
    for _ in range(300):
        active, fatigued = fatigue_step(active, fatigued, torch.ones(1, 1, dtype=torch.float64), muscle, 60.0)
    assert 100 * float(active) == pytest.approx(ASYMPTOTE[region], abs=0.01)


def test_rest_brings_units_back_faster_by_the_multiplier_and_light_work_counts_as_rest_only_if_asked():
    tired = torch.full((1, len(REGIONS)), 0.5, dtype=torch.float64)
    recovered = {}
    for load, below in ((0.0, 0.0), (1e-3, 0.0), (1e-3, 0.05)):
        _, fatigued = fatigue_step(
            torch.zeros_like(tired), tired, torch.full_like(tired, load), parameters(), 1.0, below
        )
        recovered[load, below] = (tired - fatigued)[0]
    ratio = recovered[0.0, 0.0] / recovered[1e-3, 0.0]
    np.testing.assert_allclose(ratio, [PUBLISHED[region][2] for region in REGIONS], rtol=0.03)
    np.testing.assert_allclose(recovered[1e-3, 0.05], recovered[0.0, 0.0], rtol=0.01)


def test_a_minute_of_control_steps_in_float32_is_off_by_rounding(device):
    states = []
    for dtype in (torch.float32, torch.float64):
        active, fatigued = rested(dtype=dtype, device=device)
        muscles = parameters(dtype, device)
        for count in range(3000):
            target = torch.full_like(active, 0.6 if count // 500 % 2 else 0.0)
            active, fatigued = fatigue_step(active, fatigued, target, muscles, 0.02)
        states.append(torch.stack((active, fatigued)).double().cpu())
    np.testing.assert_allclose(states[0], states[1], atol=1e-5)
    assert states[1][1].min() > 0.03
    assert not torch.equal(*states)


def test_op_keeps_torchs_rules(device):
    p = parameters(device=device)
    values = [p.fatigue, p.recovery, p.rest_multiplier, p.development, p.relaxation]
    active, fatigued = rested(device=device)
    torch.library.opcheck(fatigue._fatigue_op, (active, fatigued, torch.full_like(active, 0.5), values, 0.0, 0.1))


def test_worlds_tire_by_what_they_do_alone():
    active, fatigued = rested(3)
    target = torch.tensor([0.2, 0.8, 0.0], dtype=torch.float64)[:, None].expand_as(active)
    together = fatigue_step(active, fatigued, target, parameters(), 5.0)
    for world in range(3):
        row = slice(world, world + 1)
        alone = fatigue_step(active[row], fatigued[row], target[row], parameters(), 5.0)
        assert torch.equal(torch.stack(alone), torch.stack(together)[:, row])


def test_every_muscle_group_of_a_body_has_parameters(body: MuscleModel):
    groups = body.muscles["group"].tolist()
    found = published_parameters(groups)
    assert found.fatigue.shape == (len(groups),)
    knee, hip = groups.index("knee"), groups.index("hip")
    assert float(found.fatigue[knee]) == 0.015
    assert float(found.recovery[hip]) == PUBLISHED["general"][1]


def test_what_does_not_fit_together_is_named():
    active, fatigued = rested()
    with pytest.raises(ConfigError, match="no fatigue parameters for tail"):
        published_parameters(["knee", "tail"])
    with pytest.raises(ConfigError, match="positive step"):
        fatigue_step(active, fatigued, active, parameters(), 0.0)
    with pytest.raises(ConfigError, match="'target' is"):
        fatigue_step(active, fatigued, active.float(), parameters(), 0.1)
    with pytest.raises(ConfigError, match="'fatigue' has shape"):
        fatigue_step(active, fatigued, active, published_parameters(["knee", "ankle"]), 0.1)
