"""Gait and EMG of real people: the Rajagopal walk and Santuz's walkers (run with -rP to see the ceilings)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from musclewarp.biomechanics.compare import pearson, representational_similarity
from musclewarp.biomechanics.emg import EmgConfig, check_channels, envelope
from musclewarp.biomechanics.gait import (
    GaitCycle,
    GaitCycles,
    find_cycles,
    normalize_cycles,
    step_lengths,
    summarize_gait,
)
from musclewarp.biomechanics.gait_events import ContactConfig, GaitEvents, events_from_force, events_from_kinematics
from musclewarp.biomechanics.muscle_maps import CHANNELS
from musclewarp.biomechanics.statistics import bootstrap_interval, leave_one_out

SIDES = ("right", "left")
CHANNEL_NAMES = list(CHANNELS["santuz_walk_emg"])


@pytest.fixture(scope="module")
def forces(data_root):
    """Vertical force of each foot, 2000 Hz."""
    path = data_root / "experimental" / "rajagopal2016_walk" / "grf_walk.mot"
    table = pd.read_csv(path, sep="\t", skiprows=6)
    return {side: table[f"ground_force_{side[0]}_vy"].to_numpy() for side in SIDES}


@pytest.fixture(scope="module")
def markers(data_root):
    """Marker -> positions `(T, 3)` in m, 100 Hz, turned from y up to z up."""
    lines = (data_root / "experimental" / "rajagopal2016_walk" / "markers_walk.trc").read_text().splitlines()
    names = lines[3].split("\t")[2::3]
    rows = np.array([[float(x) for x in line.split("\t")[2 : 2 + 3 * 41]] for line in lines[6:] if line.strip()])
    x, y, z = rows.reshape(len(rows), -1, 3).transpose(2, 0, 1) / 1000
    return dict(zip(names, np.stack((x, -z, y), axis=-1).transpose(1, 0, 2)))


@pytest.fixture(scope="module")
def kinematic(markers):
    """Events of each foot from its markers."""
    sacrum = (markers["R.PSIS"] + markers["L.PSIS"]) / 2
    feet = {side: (markers[f"{side[0].upper()}.Heel"], markers[f"{side[0].upper()}.Toe"]) for side in SIDES}
    return {side: events_from_kinematics(heel, toe, sacrum, 100.0) for side, (heel, toe) in feet.items()}


def test_plates_give_the_published_stride(forces):
    """Heel strikes at 0.2665 and 1.411 s. The forces are smoothed, so the threshold shifts toe-off: 0.63 at 50 N."""
    events = events_from_force(forces["right"], 2000.0)
    np.testing.assert_allclose(events.heel_strikes, [0.2665, 1.411], atol=1e-3)
    summary = summarize_gait(find_cycles(events).kept)
    assert summary.strides == 1
    assert summary.stride_time == pytest.approx(1.1445, abs=1e-3)
    assert summary.cadence == pytest.approx(104.85, abs=0.1)
    assert summary.stance_fraction == pytest.approx(0.661, abs=0.002)
    at_50 = events_from_force(forces["right"], 2000.0, ContactConfig(threshold=50.0))
    assert summarize_gait(find_cycles(at_50).kept).stance_fraction == pytest.approx(0.631, abs=0.002)


def test_kinematic_events_are_within_30_ms_of_the_plates(forces, kinematic):
    errors = []
    for side in SIDES:
        plates = events_from_force(forces[side], 2000.0)
        for found, true in (
            (kinematic[side].heel_strikes, plates.heel_strikes),
            (kinematic[side].toe_offs, plates.toe_offs),
        ):
            assert len(true)
            errors += [found[np.abs(found - time).argmin()] - time for time in true]
    print("kinematic - plates, ms:", np.round(1000 * np.array(errors)))
    assert len(errors) == 6
    assert np.abs(errors).max() < 0.030


def test_steps_of_both_feet_add_up_to_the_speed(kinematic, markers):
    heels = [markers["R.Heel"], markers["L.Heel"]]
    right, left = kinematic["right"], kinematic["left"]
    steps = [
        *step_lengths(right, left, heels[0], heels[1], 100.0),
        *step_lengths(left, right, heels[1], heels[0], 100.0),
    ]
    summary = summarize_gait(find_cycles(right).kept + find_cycles(left).kept, steps)
    print(summary)
    assert len(steps) == 3
    assert summary.step_length * summary.cadence / 60 == pytest.approx(1.243, rel=0.03)
    assert 0.60 < summary.stance_fraction < 0.68


@pytest.fixture(scope="module")
def walkers(data_root):
    """15 adults x 200 points (100 of stance, 100 of swing) x 13 muscles."""
    table = pd.read_csv(data_root / "experimental" / "santuz_walk_emg" / "emg_15subjects_200pts.csv")
    assert list(table.columns) == ["subject", "point", *CHANNEL_NAMES]
    return table[CHANNEL_NAMES].to_numpy().reshape(15, 200, 13)


def test_the_ceilings_of_each_muscle_and_of_coordination(walkers):
    ceilings = [
        bootstrap_interval(leave_one_out(walkers[:, :, i], pearson), resamples=999) for i in range(len(CHANNEL_NAMES))
    ]
    for name, found in zip(CHANNEL_NAMES, ceilings):
        print(f"{CHANNELS['santuz_walk_emg'][name]:24s} r {found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]")
    coordination = bootstrap_interval(leave_one_out(walkers, representational_similarity), resamples=999)
    print(f"similarity of muscles    rho {coordination.mean:.2f} [{coordination.low:.2f}, {coordination.high:.2f}]")
    assert all(0.6 < found.mean < 0.9 for found in ceilings)
    assert 0.8 < coordination.mean < 0.95


def test_raw_emg_becomes_the_curves_that_its_authors_published(data_root, walkers):
    """Five cycles of subject 12 against his published mean cycle, with musclesyneRgies' cut-offs (50 Hz, 20 Hz)."""
    folder = data_root / "experimental" / "santuz_walk_emg"
    raw, cycles = pd.read_csv(folder / "raw_emg_ID0012.csv"), pd.read_csv(folder / "raw_cycles_ID0012.csv")
    strikes, toe_offs = cycles["V1"].to_numpy(), cycles["V2"].to_numpy()
    kept = find_cycles(GaitEvents(strikes, toe_offs)).kept
    assert summarize_gait(kept).stance_fraction == pytest.approx(0.637, abs=0.001)
    emg = raw[CHANNEL_NAMES].to_numpy()
    assert all(report.usable for report in check_channels(emg, 1000.0, CHANNEL_NAMES))
    levels = envelope(emg, 1000.0, EmgConfig(band=(50.0, np.inf), envelope=20.0, envelope_order=4))
    stance = GaitCycles(tuple(GaitCycle(c.start, c.toe_off, c.toe_off) for c in kept), ())
    swing = GaitCycles(tuple(GaitCycle(c.toe_off, c.end, c.end) for c in kept), ())
    halves = [
        normalize_cycles(levels, 1000.0, part, 100, raw["time"][0]).values.mean(axis=0) for part in (stance, swing)
    ]
    ours = np.concatenate(halves)
    r = [pearson(ours[:, i], walkers[11, :, i]) for i in range(13)]
    print("r with the published curves:", np.round(r, 2))
    assert min(r) > 0.85
    assert np.mean(r) > 0.92
