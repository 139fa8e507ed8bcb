"""`musclewarp report`: movements of models, the page and the table."""

from __future__ import annotations

import re
from dataclasses import replace

import mujoco
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from musclewarp import reporting
from musclewarp.biomechanics.agreement import COLUMNS, FURTHER, compare_movements
from musclewarp.biomechanics.computed import movement_of_reference, movement_of_replay, movement_of_trial
from musclewarp.biomechanics.experiments import Event, load_experiment
from musclewarp.biomechanics.gait_events import GaitEvents
from musclewarp.biomechanics.movement import Movement, Signal, movement_of_experiment, pelvis_signals
from musclewarp.biomechanics.replay import replay_experiment
from musclewarp.biomechanics.report import write_comparison
from musclewarp.cli import main
from musclewarp.errors import ModelError, SignalError
from musclewarp.evaluation.trial import SUFFIX as TRIAL_SUFFIX
from musclewarp.evaluation.trial import Trial
from musclewarp.references import make_reference
from musclewarp.references.reference import SUFFIX

PERIOD, SWING = 50, 0.4  # frames of 0.02 s, rad


@pytest.fixture(scope="module")
def striding(body):
    """A loop of one second in which stiff legs swing, the left one half a period after the right, at 1 m/s."""
    m = body.mj_model
    phase = 2 * np.pi * np.arange(PERIOD + 1) / PERIOD
    qpos = np.tile(m.qpos0, (PERIOD + 1, 1))
    qpos[:, 0] = 0.02 * np.arange(PERIOD + 1)
    for side, sign in (("r", 1.0), ("l", -1.0)):
        qpos[:, m.joint(f"hip_flexion_{side}").qposadr[0]] = sign * SWING * np.sin(phase)
    return replace(make_reference(body, qpos, 0.02, "stride"), loop=True)


def trial_of(model, qpos, dt, force, failed_at=-1):
    """A trial that went through these postures, with every muscle at a tenth."""
    frames, joints = len(qpos), [model.dof_names[dof] for dof in model.joint_dofs]
    arrays = {"qpos": qpos, "qvel": np.zeros((frames, model.mj_model.nv)), "foot_force": force}
    arrays["activation"] = np.full((frames, model.mj_model.nu), 0.1)
    arrays = {key: value.astype(np.float32) for key, value in arrays.items()}
    names = (tuple(model.muscles.index), tuple(joints), model.sites, model.feet)
    return Trial("walk", "policy", model.name, model.hash, dt, *names, failed_at, arrays)


def test_a_loop_is_walked_through_until_both_feet_have_whole_strides(body, striding):
    movement = movement_of_reference(body, striding)
    for side, peak in (("right", 0.25), ("left", 0.75)):
        np.testing.assert_allclose(movement.events[side].heel_strikes % 1.0, peak, atol=0.03)
    found = compare_movements(movement, movement)
    assert found.bases == {"right": "gait cycle", "left": "gait cycle"}
    hip = next(one for one in found.signals if (one.measured.name, one.measured.side) == ("hip_flexion", "left"))
    assert np.ptp(hip.simulated_curves.mean) == pytest.approx(2 * SWING, rel=0.01)
    assert not any(one.measured.kind == "emg" for one in found.signals)
    assert any("no activations" in note for note in found.notes)


def test_forces_of_a_trial_are_seen_from_where_the_pelvis_faces(body, striding):
    data = mujoco.MjData(body.mj_model)
    data.qpos[:] = striding.qpos[0]
    mujoco.mj_kinematics(body.mj_model, data)
    forward = data.body("pelvis").xmat.reshape(3, 3)[:, 0] * [1.0, 1.0, 0.0]
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    force = np.zeros((PERIOD + 1, len(body.feet), 3))
    force[:, body.feet.index("right")] = 30.0 * forward - 10.0 * right + [0.0, 0.0, 700.0]
    movement = movement_of_trial(body, trial_of(body, striding.qpos, 0.02, force))
    forces = {s.name: s.values[0] for s in movement.signals if (s.kind, s.side) == ("grf", "right")}
    np.testing.assert_allclose(forces["vertical"], 700.0, rtol=1e-6)
    np.testing.assert_allclose(forces["forward"], 30.0, rtol=1e-5)
    np.testing.assert_allclose(forces["medial"], 10.0, rtol=1e-5)
    soleus = [s.values for s in movement.signals if (s.kind, s.name) == ("emg", "soleus")]
    np.testing.assert_allclose(soleus, 0.1, rtol=1e-6)


def test_a_trial_that_fails_is_cut_there_and_says_so(body, striding):
    force = np.zeros((PERIOD + 1, len(body.feet), 3))
    movement = movement_of_trial(body, trial_of(body, striding.qpos, 0.02, force, failed_at=30))
    assert "the 0.60 of 1.02 s before it fails" in movement.label
    assert {len(signal.instants) for signal in movement.signals} == {30}
    with pytest.raises(SignalError, match="'walk' of the controller 'policy' fails in frame 1"):
        movement_of_trial(body, trial_of(body, striding.qpos, 0.02, force, failed_at=1))
    with pytest.raises(SignalError, match=r"before it fails.*no stride and no stance"):
        compare_movements(movement, movement)


def test_arms_alone_do_not_walk(arms):
    reference = make_reference(arms, np.tile(arms.mj_model.qpos0, (5, 1)), 0.02, "rest")
    with pytest.raises(ModelError, match="'bimanual' has no legs"):
        movement_of_reference(arms, reference)


def test_the_replay_is_the_measured_movement_and_needs_the_studys_moments(body, walk, replay):
    table = compare_movements(movement_of_replay(body, replay, walk), movement_of_experiment(walk)).table()
    angles, moments = (table[table["kind"] == kind] for kind in ("angle", "moment"))
    assert len(angles) == 13
    assert (angles["rmse"] < np.radians(1.0)).all()
    assert len(moments) == 10
    assert (moments["unit"] == "Nm/kg").all()
    assert moments["r"].mean() > 0.95
    assert moments["rmse"].max() < 0.2
    assert (table[table["kind"] == "grf"]["r"] > 0.99).all()


@pytest.mark.parametrize("name", ["hamner_run", "bmclab_run2018"])
def test_runs_without_a_whole_stride_are_compared_by_stance(body, data_root, name):
    run = load_experiment(name, data_root)
    found = compare_movements(
        movement_of_replay(body, replay_experiment(run, body), run), movement_of_experiment(run)
    )  # fmt: skip
    assert found.bases == {"right": "stance", "left": "stance"}
    knees = [one.numbers.r for one in found.of("angle") if one.measured.name == "knee_angle"]
    assert len(knees) == 2
    assert min(knees) > 0.95


@pytest.fixture
def quiet(monkeypatch, data_root, body):
    """The command with the data root, and with the model that the session has compiled."""
    monkeypatch.setenv("MUSCLEWARP_DATA", str(data_root))
    monkeypatch.setattr(reporting, "load_model", lambda name: body)
    monkeypatch.setattr(reporting, "model_of_rate", lambda name, dt: body)


def test_the_page_stands_alone_and_the_table_has_every_number(quiet, walk, tmp_path, capsys):
    assert main(["report", "--experiment", "rajagopal2016_walk", "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["comparison.csv", "report.html"]
    printed = capsys.readouterr().out
    assert "moment   10 of 10 signals, r 0.9" in printed
    assert "angle    13 of 13 signals, given" in printed
    table = pd.read_csv(tmp_path / "out" / "comparison.csv", keep_default_na=True)
    assert tuple(table.columns) == (*COLUMNS, *FURTHER)
    assert set(table["kind"]) == {"angle", "moment", "grf", "emg"}
    emg = table[(table["kind"] == "emg") & (table["signal"] != "coordination")]
    assert len(emg) == 10
    assert emg["ceiling_r"].between(0.5, 0.8).all()
    assert emg["measured_vs_population_r"].notna().all()
    assert (table.loc[table["basis"] == "gait cycle", "composed"].dropna() == "both").all()
    assert (emg["unit"] == "of maximum").all()
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg ") == 4
    outside = re.findall(r"(?:src|href)\s*=\s*[\"'](?!#)|url\(\s*[\"']?(?!#)|@import|<script|<link", page)
    assert not outside
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    for text in (walk.citation, walk.licence, "Santuz", "put together of parts", "Strides left out", "low-pass at 6 Hz",
                 "low-pass at 40 Hz", "0.01 s", "power of 2", "0.3 Nm at joints", "EMG envelope", ">given</td>",
                 "penalised optimum"):  # fmt: skip
        assert text.replace("&", "&amp;").replace("'", "&#x27;") in page
    numbers = table.set_index(["kind", "signal", "side"])["r"]
    assert "right foot, measured" in page
    assert "right foot, simulated" not in page  # its events are the measured ones
    assert f"{numbers['moment', 'hip_flexion', 'right']:.2f}" in page


def test_a_reference_of_the_experiment_is_laid_on_its_strides(quiet, replay, tmp_path):
    path = replay.reference.save(tmp_path / f"walk{SUFFIX}")
    assert main(["report", str(path), "--experiment", "rajagopal2016_walk", "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "comparison.csv")
    assert set(table["kind"]) == {"angle", "emg"}
    assert (table[table["kind"] == "angle"]["r"] > 0.99).all()
    assert ">given</td>" in (tmp_path / "report.html").read_text()


def test_a_reference_tells_how_far_its_activations_are_from_the_movement(body, striding, walk):
    quality = {"impossible_frames": 0.25, "missing_moment_nm": 1.5, "missing_root_force_n": 30.0}
    notes = movement_of_reference(body, replace(striding, quality=quality)).notes
    (note,) = [note for note in notes if note.startswith("activations of the reference")]
    for text in ("25% of the frames", "1.5 Nm", "30 N"):
        assert text in note


def test_only_a_reference_of_the_same_trial_takes_its_events(body, replay, striding, walk):
    own = movement_of_reference(body, replay.reference, walk)
    assert own.given == {"angle"}
    assert own.events_given
    assert own.clock == movement_of_experiment(walk).clock
    other = movement_of_reference(body, replay.reference, replace(walk, task="another subject"))
    assert (other.given, other.events_given, other.clock) == (frozenset(), False, "")
    eventless = movement_of_reference(body, replay.reference, replace(walk, ground={}, events=()))
    assert len(eventless.events["right"].heel_strikes)  # of ankles and toes
    assert (eventless.given, eventless.events_given) == ({"angle"}, False)
    assert movement_of_reference(body, replace(striding, source=replay.reference.source), walk).given == {"angle"}
    strikes = tuple(Event(time, "left", "heel strike") for time in (0.45, 1.799))
    ended = movement_of_reference(body, replay.reference, replace(walk, ground={}, events=strikes))
    np.testing.assert_allclose(ended.events["left"].heel_strikes, [0.45, 1.79])  # its last frame


def test_pelvis_angles_do_not_depend_on_the_heading(body, striding):
    angle = 2.0
    turn = Rotation.from_rotvec([0.0, 0.0, angle])
    qpos = striding.qpos.copy()
    qpos[:, :3] = turn.apply(qpos[:, :3])
    qpos[:, 3:7] = (turn * Rotation.from_quat(qpos[:, 3:7], scalar_first=True)).as_quat(scalar_first=True)
    force = np.zeros((PERIOD + 1, len(body.feet), 3))
    straight, yawed = (movement_of_trial(body, trial_of(body, each, 0.02, force)) for each in (striding.qpos, qpos))
    for one in (signal for signal in straight.signals if signal.name.startswith("pelvis")):
        np.testing.assert_allclose(yawed.find(one).values, one.values, atol=1e-5)  # trials are float32


def test_a_turning_pelvis_is_seen_from_where_its_path_leads():
    time = np.linspace(0.0, 3.0, 301)
    sway = 0.1 * np.sin(2 * np.pi * time)
    upright = Rotation.from_rotvec([np.pi / 2, 0.0, 0.0])
    headings = Rotation.from_rotvec((0.4 * time + sway)[:, None] * [0.0, 0.0, 1.0])
    *_, rotation = pelvis_signals(time, headings * upright, turning=0.4 * 0.01)
    np.testing.assert_allclose(rotation.values[0] - rotation.values.mean(), sway - sway.mean(), atol=1e-3)


def test_runs_are_filtered_less_than_walks(body, data_root):
    run = load_experiment("hamner_run", data_root)
    found = replay_experiment(run, body, dt=0.02)
    assert found.settings["angle filter"] == "zero-phase low-pass at 15 Hz"
    given = replay_experiment(run, body, cutoff_hz=8.0, dt=0.02)
    assert given.settings["angle filter"] == "zero-phase low-pass at 8 Hz"


def test_a_lag_that_is_not_there_is_told_on_the_page(walk, tmp_path):
    time = np.arange(0.0, 5.0, 0.01)
    events = {"right": GaitEvents(np.array([0.5, 1.5, 2.5]), np.array([1.1, 2.1]))}
    ours, theirs = (
        Movement(name, (Signal("soleus", "emg", "right", "1", time, np.cos(2 * np.pi * (time - late))[None]),), events)
        for name, late in (("ours", 0.4), ("theirs", 0.0))
    )
    page, _ = write_comparison(tmp_path, compare_movements(ours, theirs), walk)
    assert "none within ±0.25 s" in page.read_text()


@pytest.mark.parametrize("given", [False, True])
def test_what_was_given_has_no_likeness_on_the_page_and_says_so_in_the_table(walk, tmp_path, given):
    time = np.arange(0.0, 5.0, 0.01)
    events = {"right": GaitEvents(np.array([0.5, 1.5, 2.5]), np.array([1.1, 2.1]))}
    curves = {"angle": ("hip_flexion", "rad"), "emg": ("soleus", "1")}
    signals = tuple(
        Signal(name, kind, "right", unit, time, np.cos(2 * np.pi * time)[None]) for kind, (name, unit) in curves.items()
    )
    theirs = Movement("theirs", signals, events)
    ours = replace(theirs, label="ours", given=frozenset(("angle",)) if given else frozenset())
    page, table = write_comparison(tmp_path, compare_movements(ours, theirs), walk)
    text = page.read_text()
    assert text.count(">given</td>") == (2 + 4) * given  # of the summary; r, lag, r at the lag and the peak's lag
    assert text.count(">1.00</td>") == (8 if not given else 4)
    assert pd.read_csv(table).set_index("kind")["given"].to_dict() == {"angle": given, "emg": False}


def test_bad_input_is_told_with_its_remedy(quiet, body, striding, tmp_path, capsys):
    force = np.zeros((PERIOD + 1, len(body.feet), 3))
    still = trial_of(body, striding.qpos, 0.02, force).save(tmp_path / f"still{TRIAL_SUFFIX}")
    old = replace(trial_of(body, striding.qpos, 0.02, force), model_hash="0" * 64)
    old_path = old.save(tmp_path / f"old{TRIAL_SUFFIX}")
    cases = {
        (str(tmp_path),): ["a folder", "musclewarp evaluate --trials"],
        (str(tmp_path / f"no{TRIAL_SUFFIX}"),): [f"no{TRIAL_SUFFIX}", "no such file"],
        (str(still),): ["no stride and no stance (0 heel strikes)", "walks or runs for a stride"],
        (str(old_path),): ["another version of 'myofullbody'", "record it again"],
        ("--experiment", "santuz_walk_emg"): ["has no kinematics to replay", "another --experiment"],
        ("--experiment", "rajagopal"): ["did you mean 'rajagopal2016_walk'"],
    }
    for arguments, expected in cases.items():
        given = [] if "--experiment" in arguments else ["--experiment", "rajagopal2016_walk"]
        assert main(["report", *arguments, *given, "--out", str(tmp_path / "out")]) == 2
        message = capsys.readouterr().err
        assert all(text in message for text in expected), message
        assert "Traceback" not in message
    assert not (tmp_path / "out").exists()
