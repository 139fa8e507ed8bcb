"""Movements beside one another: what was put in comes out, and what cannot be compared is told."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from musclewarp.biomechanics.agreement import COLUMNS, FURTHER, compare_movements
from musclewarp.biomechanics.ceilings import Population, population_of
from musclewarp.biomechanics.compare import pearson, representational_similarity
from musclewarp.biomechanics.experiments import load_experiment
from musclewarp.biomechanics.gait_events import GaitEvents
from musclewarp.biomechanics.movement import Movement, Signal, movement_of_experiment
from musclewarp.errors import SignalError

STRIDE, RATE = 1.2, 200.0
TIME = np.arange(0.0, 6.1, 1.0 / RATE)
STRIKES = np.arange(0.1, 6.0, STRIDE)  # five, so four strides
EVENTS = GaitEvents(STRIKES, STRIKES + 0.6 * STRIDE)


def wave(delay=0.0, time=TIME):
    """A curve of period `STRIDE`, `delay` s late."""
    phase = 2 * np.pi * (time - delay) / STRIDE
    return np.sin(phase) + 0.4 * np.cos(2 * phase) + 2.0


def signal(values, kind="angle", name="knee_angle", side="right", unit="rad", time=TIME, **options):
    return Signal(name, kind, side, unit, time, np.atleast_2d(values), **options)


def movement(label, *signals, mass=None, events=EVENTS):
    return Movement(label, signals, {"right": events} if events else {}, mass)


def test_a_known_correlation_lag_and_error_come_out_of_the_table():
    late = movement("ours", signal(wave(0.06)))
    offset = movement("offset", signal(wave() + 0.25))
    row = compare_movements(late, movement("theirs", signal(wave()))).table().iloc[0]
    assert tuple(row.index) == (*COLUMNS, *FURTHER)
    assert (row["basis"], row["composed"]) == ("gait cycle", "")
    assert row["lag_s"] == pytest.approx(0.06, abs=0.002)
    one_period = np.arange(0.0, STRIDE, 1e-3)
    expected = pearson(wave(0.06, one_period), wave(0.0, one_period))
    assert row["r"] == pytest.approx(expected, abs=0.005)
    row = compare_movements(offset, movement("theirs", signal(wave()))).table().iloc[0]
    assert row["r"] == pytest.approx(1.0)
    assert row["rmse"] == pytest.approx(0.25)
    assert row["unit"] == "rad"
    assert np.isnan(row["ceiling_r"])


def test_moments_and_forces_are_compared_per_kg_where_both_masses_are_known():
    moment = {"kind": "moment", "unit": "Nm"}
    light = movement("ours", signal(60.0 * wave(), **moment), mass=60.0)
    heavy = movement("theirs", signal(90.0 * wave(), **moment), mass=90.0)
    (row,) = compare_movements(light, heavy).table().itertuples()
    assert (row.unit, row.rmse) == ("Nm/kg", pytest.approx(0.0, abs=1e-12))
    unknown = compare_movements(light, replace(heavy, mass=None))
    assert unknown.table()["unit"].item() == "Nm"
    assert any("mass is not known" in note for note in unknown.notes)


def test_emg_in_units_of_its_maximum_is_judged_by_shape_and_not_by_level():
    emg = {"kind": "emg", "name": "soleus", "unit": "1"}
    ours = movement("ours", signal(0.1 * wave(), **emg))
    shape = compare_movements(ours, movement("theirs", signal(wave(), **emg, has_level=False))).table().iloc[0]
    assert shape["unit"] == "of maximum"
    assert shape["rmse"] == pytest.approx(0.0, abs=1e-12)
    level = compare_movements(ours, movement("theirs", signal(wave(), **emg))).table().iloc[0]
    assert level["unit"] == "1"
    assert level["rmse"] > 1.0


def test_strides_are_averaged_and_their_spread_is_kept():
    steps = np.floor((TIME - STRIKES[0]) / STRIDE)  # 0, 1, 2, 3: a stride is as much higher as it is later
    (found,) = compare_movements(movement("ours", signal(wave() + 0.1 * steps)), movement("m", signal(wave()))).signals
    inside = slice(2, -2)  # the step itself is between two samples
    assert len(found.simulated_curves.values) == 4
    np.testing.assert_allclose(found.simulated_curves.sd[inside], np.std([0, 0.1, 0.2, 0.3], ddof=1), atol=1e-9)
    np.testing.assert_allclose(
        (found.simulated_curves.mean - found.measured_curves.mean)[inside], 0.15, atol=1e-9
    )  # fmt: skip


def test_a_stride_that_is_left_out_has_its_reason_beside_it():
    holed = wave()
    holed[(TIME > 1.4) & (TIME < 1.5)] = np.nan
    found = compare_movements(movement("ours", signal(holed)), movement("theirs", signal(wave())))
    (rejected,) = found.rejected
    assert (rejected.whose, rejected.side, rejected.kind) == ("simulated", "right", "angle")
    assert "not finite at 1.4" in rejected.cycle.reason
    assert len(found.signals[0].simulated_curves.values) == 3


def test_a_stride_that_nowhere_is_whole_is_put_together_and_said_to_be():
    events = GaitEvents(np.array([0.1, 1.3]), np.array([0.8]))
    inside = (TIME >= 0.5) & (TIME <= 1.8)  # begins late, ends late, and lasts longer than a stride
    cut = movement("ours", signal(wave()[inside], time=TIME[inside]), events=events)
    found = compare_movements(cut, movement("theirs", signal(wave())))
    assert found.signals[0].simulated_curves.composed
    assert found.signals[0].numbers.r == pytest.approx(1.0, abs=1e-3)
    assert any("put together" in note for note in found.notes)


def test_a_foot_that_strikes_once_takes_the_other_foots_stride():
    left = GaitEvents(np.array([0.7]), np.array([1.4]))
    both = {"right": EVENTS, "left": left}
    shifted = signal(wave(0.6), side="left")
    ours = Movement("ours", (shifted,), both)
    found = compare_movements(ours, ours)
    assert found.bases["left"] == "gait cycle"
    assert found.signals[0].stride == pytest.approx(STRIDE)
    assert any("strikes once" in note for note in found.notes)


def test_stances_are_compared_where_no_stride_is_whole_and_it_is_said():
    once = GaitEvents(np.array([0.1]), np.array([0.82]))
    found = compare_movements(movement("ours", signal(wave())), movement("theirs", signal(wave()), events=once))
    assert found.bases == {"right": "stance"}
    assert found.signals[0].stride == pytest.approx(0.72)
    assert any("stances are compared instead" in note for note in found.notes)


def test_what_cannot_be_compared_is_told():
    theirs = movement("laboratory", signal(wave()))
    standing = movement("standing", signal(wave()), events=None)
    with pytest.raises(SignalError, match=r"'standing' has no stride and no stance \(0 heel strikes\).*walks or runs"):
        compare_movements(standing, theirs)
    with pytest.raises(SignalError, match=r"'ours' \(angle\).*no signal in common"):
        compare_movements(movement("ours", signal(wave(), name="elbow")), theirs)


def test_a_joint_that_was_held_is_not_compared():
    theirs = movement("theirs", signal(wave()), signal(np.zeros_like(TIME), name="mtp_angle"))
    ours = movement("ours", signal(wave()), signal(wave(), name="mtp_angle"))
    found = compare_movements(ours, theirs)
    assert [one.measured.name for one in found.signals] == ["knee_angle"]
    assert any("mtp angle right was held constant" in note for note in found.notes)


def test_a_ceiling_is_that_of_the_muscle_or_of_its_parts():
    random = np.random.default_rng(0)
    phase = np.linspace(0.0, 1.0, 101)
    curve = np.sin(2 * np.pi * phase)
    sizes = {"gastrocnemius_medialis": 0.1, "gastrocnemius_lateralis": 0.1, "soleus": 3.0}
    people = {part: curve + size * random.normal(size=(8, 101)) for part, size in sizes.items()}
    population = Population("people", "open", "us", people)
    assert population.ceiling("gastrocnemius") > 0.97
    assert population.ceiling("soleus") < 0.6
    assert np.isnan(population.ceiling("gluteus_maximus"))
    same = movement("ours", *(signal(wave(), "emg", name, unit="1") for name in ("gastrocnemius", "gluteus_maximus")))
    ceilings = compare_movements(same, same, population).table().set_index("signal")["ceiling_r"]
    assert ceilings["gastrocnemius"] == population.ceiling("gastrocnemius", one_person=True)
    assert ceilings["gastrocnemius"] < population.ceiling("gastrocnemius")
    assert np.isnan(ceilings["gluteus_maximus"])


def test_the_walkers_ceilings_are_the_published_recordings(data_root):
    population = population_of(load_experiment("santuz_walk_emg", data_root))
    ceilings = {site: population.ceiling(site) for site in population.curves}
    assert len(ceilings) == 13
    assert all(0.6 < r < 0.9 for r in ceilings.values())
    assert population.ceiling("medial_hamstrings") == ceilings["semitendinosus"]


def test_one_person_is_judged_by_pairs_of_people_and_a_population_by_its_mean():
    random = np.random.default_rng(1)
    names = ("soleus", "tibialis_anterior", "rectus_femoris")
    phase = np.linspace(0.0, 1.0, 101)
    people = {n: wave(0.2 * i, phase * STRIDE) + random.normal(size=(9, 101)) for i, n in enumerate(names)}
    population = Population("people", "open", "us", people)
    emg = {"kind": "emg", "unit": "1"}
    ours = movement("ours", *(signal(wave(0.2 * i), name=n, **emg) for i, n in enumerate(names)))
    many = movement("many", *(Signal(n, "emg", "right", "1", phase, people[n], True) for n in names))
    for theirs, alone in ((ours, True), (many, False)):
        table = compare_movements(ours, theirs, population).table().set_index("signal")
        assert table["ceiling_r"]["soleus"] == population.ceiling("soleus", one_person=alone)
        assert table["ceiling_r"]["coordination"] == population.coordination_ceiling(names, one_person=alone)
        assert table["measured_vs_population_r"].notna().all() == alone
    pairs = combinations(np.stack([people[n] for n in names], axis=-1), 2)
    each = [representational_similarity(one, other) for one, other in pairs]
    assert population.coordination_ceiling(names, one_person=True) == pytest.approx(np.mean(each), abs=1e-12)
    curve = compare_movements(ours, ours).signals[0].measured_curves.mean
    (expected,) = (pearson(curve, people["soleus"].mean(axis=0)),)
    table = compare_movements(ours, ours, population).table().set_index("signal")
    assert table["measured_vs_population_r"]["soleus"] == pytest.approx(expected)


def test_movements_on_one_clock_are_compared_at_the_same_instants():
    """The second stride differs from the first; a record that ends early has to be laid on what it recorded."""
    events = GaitEvents(np.array([0.1, 1.3, 2.5]), np.array([0.8, 2.0]))
    other = wave() + 3.0 * (TIME >= 1.3) * np.sin(np.pi * TIME)
    inside = (TIME >= 0.7) & (TIME <= 2.1)
    cut = movement("ours", signal(other[inside], time=TIME[inside]), events=events)
    whole = movement("theirs", signal(other), events=events)
    apart = compare_movements(cut, whole).signals[0]
    assert apart.numbers.r < 0.95
    together = compare_movements(replace(cut, clock="one"), replace(whole, clock="one"))
    assert together.signals[0].numbers.r == pytest.approx(1.0)
    assert together.table()["composed"].item() == "both"
    later = movement("later", signal(wave(), time=TIME + 20.0), signal(wave(), name="hip_flexion"))
    theirs = movement("theirs", signal(wave()), signal(wave(), name="hip_flexion"))
    found = compare_movements(replace(later, clock="one"), replace(theirs, clock="one"))
    assert [one.measured.name for one in found.signals] == ["hip_flexion"]
    assert any("no instant of it" in note for note in found.notes)


def test_a_summary_counts_what_has_no_r_and_tells_what_was_given(recwarn):
    theirs = movement("theirs", *(signal(wave(), name=n) for n in ("knee_angle", "hip_flexion")))
    ours = movement("ours", signal(np.zeros_like(TIME), name="hip_flexion"), signal(wave()))
    (row,) = compare_movements(replace(ours, given=frozenset(("angle",))), theirs).summary()
    assert (row.signals, row.judged, row.given) == (2, 1, True)
    assert row.mean_r == row.lowest_r == pytest.approx(1.0)
    silent = movement("ours", signal(np.zeros_like(TIME)))
    (row,) = compare_movements(silent, theirs).summary()
    assert (row.signals, row.judged, row.given) == (1, 0, False)
    assert np.isnan(row.mean_r)
    assert not recwarn


def test_a_joint_without_a_moment_is_not_compared():
    toes = signal(0.02 * wave(), "moment", "mtp_angle", unit="Nm")
    knee = signal(wave(), "moment", unit="Nm")
    found = compare_movements(movement("ours", toes, knee, mass=70.0), movement("theirs", toes, knee, mass=70.0))
    assert [one.measured.name for one in found.signals] == ["knee_angle"]


def test_a_leg_without_events_is_laid_on_the_other_foots_strides():
    """Only left heel strikes are known, no toe-off, and EMG is of the right leg (gait120)."""
    muscle = {"kind": "emg", "name": "soleus", "unit": "1"}
    known = {"left": GaitEvents(STRIKES, np.empty(0))}
    theirs = Movement("theirs", (signal(wave(), **muscle),), known)
    ours = Movement("ours", (signal(wave(0.06), **muscle),), {"left": EVENTS, "right": EVENTS})
    population = Population("people", "open", "us", {"soleus": np.random.default_rng(0).normal(size=(4, 101))})
    found = compare_movements(ours, theirs, population)
    assert found.signals[0].foot == "left"
    assert found.signals[0].numbers.lag_s == pytest.approx(0.06, abs=0.002)
    assert np.isnan(found.signals[0].ceiling_r)
    assert any("right foot has no events" in note for note in found.notes)


def test_a_stance_that_is_left_out_says_why():
    bounced = GaitEvents(np.array([0.1, 4.0]), np.array([0.8, 4.5, 4.7]))
    found = compare_movements(movement("ours", signal(wave()), events=bounced), movement("theirs", signal(wave())))
    assert found.bases == {"right": "stance"}
    reasons = [one.cycle.reason for one in found.rejected if one.whose == "simulated"]
    assert reasons == ["has 2 toe-offs instead of one"]


def test_events_of_a_raw_recording_are_not_those_of_the_fifteen(data_root):
    walkers = movement_of_experiment(load_experiment("santuz_walk_emg", data_root))
    assert not walkers.events
    ours = movement("ours", signal(wave(), "emg", "soleus", unit="1"))
    found = compare_movements(ours, walkers)
    assert found.signals[0].stride == pytest.approx(STRIDE)
    assert "right" not in found.measured.phases
    assert any("lags are of the simulated stride" in note for note in found.notes)
