"""Experiments that users fetch themselves, on files made here in their published layouts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from musclewarp.biomechanics.agreement import compare_movements
from musclewarp.biomechanics.experiments import gait120, load_experiment
from musclewarp.biomechanics.gait_events import GaitEvents
from musclewarp.biomechanics.movement import Movement, Signal, movement_of_experiment
from musclewarp.biomechanics.phases import find_phases
from musclewarp.errors import ConfigError, FileError

ANGLES = ["pelvis_tilt", "pelvis_tx", "hip_flexion_r", "hip_adduction_r", "hip_adduction_l", "knee_angle_r",
          "knee_angle_l", "ankle_angle_r"]  # fmt: skip


@pytest.fixture
def gait120_root(tmp_path):
    """One step of subject 11: every angle is 10 degrees but the knees, which are bent by 30, and a trial's EMG."""
    home = tmp_path / "experimental/gait120/Gait120_011_to_020/S011"
    folder = home / "JointAngle/LevelWalking/Trial05"
    folder.mkdir(parents=True)
    row = "\t".join("-30" if "knee" in name else "10" for name in ANGLES)
    lines = ["Coordinates", "version=1", "nRows=3", f"nColumns={1 + len(ANGLES)}", "inDegrees=yes", "endheader",
             "time\t" + "\t".join(ANGLES), *(f"{time}\t{row}" for time in (2.0, 2.5, 3.0))]  # fmt: skip
    (folder / "step01.mot").write_text("\n".join(lines) + "\n")
    channels = {name: np.full((101, 1), 0.1 * n) for n, name in enumerate(gait120.MUSCLES)}
    (home / "EMG").mkdir()
    step = {"EMGs_interpolated": channels}
    savemat(home / "EMG/ConvertedData.mat", {"LevelWalking": {"Trial05": {"Step01": step}}})
    return tmp_path


def test_gait120_signs_are_those_of_every_experiment(gait120_root):
    step = load_experiment("gait120", gait120_root, subject=11)
    ten = np.radians(10)
    assert step.kinematics["knee_angle_r"] == pytest.approx(3 * ten)
    assert step.kinematics["knee_angle_l"] == pytest.approx(3 * ten)
    assert step.kinematics["hip_adduction_r"] == pytest.approx(ten)
    assert step.kinematics["hip_adduction_l"] == pytest.approx(-ten)
    assert step.kinematics["hip_flexion_r"] == pytest.approx(ten)
    assert step.kinematics["pelvis_tx"] == pytest.approx(10.0)


def test_gait120_steps_are_strides_of_the_left_foot(gait120_root):
    measured = movement_of_experiment(load_experiment("gait120", gait120_root, subject=11))
    cycles = find_phases(measured)["left"].cycles
    assert [(cycle.start, cycle.end) for cycle in cycles.kept] == [(2.0, 3.0)]
    time = np.arange(2.0, 3.5, 0.01)
    muscle = Signal("soleus_medialis", "emg", "right", "1", time, np.sin(7 * time)[None])
    ours = Movement("ours", (muscle,), {"left": GaitEvents(np.array([2.1, 3.2]), np.array([2.7]))})
    (found,) = compare_movements(ours, replace(measured, signals=(muscle,))).signals
    assert (found.foot, found.basis) == ("left", "gait cycle")


def test_gait120_emg_lies_on_the_time_of_its_step(gait120_root):
    step = load_experiment("gait120", gait120_root, subject=11)
    assert step.emg.normalised == "mvc"
    assert step.emg.instants[[0, -1]].tolist() == [2.0, 3.0]
    assert step.emg["gastrocnemius_medialis"] == pytest.approx(np.full((1, 101), 0.6))
    assert set(step.files) == {"step01.mot", "ConvertedData.mat"}


def test_gait120_without_converted_emg_still_has_angles(gait120_root):
    (gait120_root / "experimental/gait120/Gait120_011_to_020/S011/EMG/ConvertedData.mat").unlink()
    step = load_experiment("gait120", gait120_root, subject=11)
    assert step.emg is None
    assert any("ConvertedData.mat is missing" in note for note in step.notes)


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ({"subject": 12}, FileError, r"Gait120_011_to_020/S012: no such folder"),
        ({"subject": 11, "trial": 4}, FileError, r"Trial04/Step01.mot: no such file"),
        ({"subject": 121}, ConfigError, "choose 1 to 120"),
        ({"subject": 11, "task": "Walking"}, ConfigError, "one of LevelWalking"),
    ],
)
def test_gait120_tells_what_it_does_not_have(gait120_root, selection, error, message):
    with pytest.raises(error, match=message):
        load_experiment("gait120", gait120_root, **selection)


@pytest.fixture
def wang():
    """The structure of one file: angles of 10 degrees, knees bent by 30, their moments 5 Nm (extension), EMG 0.2."""
    labels = ["time", *ANGLES]
    angles = np.tile([0.0, *(-30.0 if "knee" in name else 10.0 for name in ANGLES)], (100, 1))
    moments = np.tile([0.0, 5.0, -40.0], (100, 1))
    strikes = np.array([[1, 111], [111, 219], [219, 331]])
    average = {"hsMatrix_right": strikes, "IKAngData": {"ave_r": angles}, "IDTrqData": {"ave_r": moments},
               "EMG": {"ave_r": np.full((100, 10), 0.2)}, "EMGAvedynNorFlag": 1, "EMGAveNorFlag": 0}  # fmt: skip
    synchronous = {
        "IKAngDataLabel": np.array(labels, dtype=object),
        "IDTrqDataLabel": np.array(["time", "knee_angle_r_moment", "ankle_angle_r_moment"], dtype=object),
        "Average": average,
    }
    return {"Datastr": {"Resample": {"FrameRate": 100, "Sych": synchronous}}}


@pytest.fixture
def write_wang(tmp_path):
    def write(content, name="Subj04_walk_45.mat"):
        folder = tmp_path / "experimental/wang2023/Subj04"
        folder.mkdir(parents=True, exist_ok=True)
        savemat(folder / name, content)
        return tmp_path

    return write


def test_wang_is_read_in_radians_with_flexing_knees(wang, write_wang):
    cycle = load_experiment("wang2023", write_wang(wang))
    assert cycle.kinematics["knee_angle_r"] == pytest.approx(np.radians(30))
    assert cycle.kinematics["hip_flexion_r"] == pytest.approx(np.radians(10))
    assert cycle.kinematics["pelvis_tx"] == pytest.approx(10.0)
    assert cycle.moments["knee_angle_r"] == pytest.approx(-5.0)
    assert cycle.moments["ankle_angle_r"] == pytest.approx(-40.0)
    assert cycle.moments.unit("ankle_angle_r") == "Nm"


def test_wang_time_is_phase_times_the_mean_stride(wang, write_wang):
    cycle = load_experiment("wang2023", write_wang(wang))
    assert cycle.kinematics.time[[0, -1]] == pytest.approx([0.0, 1.1])
    assert cycle.treadmill_speed == pytest.approx(1.25)
    assert cycle.emg.over_cycle
    assert cycle.emg.normalised == "mean cycle"
    assert cycle.emg["soleus"].shape == (1, 100)


def test_wang_cycles_are_strides_of_the_right_foot(wang, write_wang):
    phases = find_phases(movement_of_experiment(load_experiment("wang2023", write_wang(wang))))
    assert [(cycle.start, cycle.end) for cycle in phases["right"].cycles.kept] == [(0.0, pytest.approx(1.1))]


def test_wang_without_moments_or_normalisation(wang, write_wang):
    average = wang["Datastr"]["Resample"]["Sych"]["Average"]
    for key in ("IDTrqData", "EMGAvedynNorFlag"):
        del average[key]
    cycle = load_experiment("wang2023", write_wang(wang))
    assert cycle.moments is None
    assert (cycle.emg.normalised, cycle.emg.unit) == ("", "")


def test_wang_tells_what_a_file_lacks(wang, write_wang):
    average = wang["Datastr"]["Resample"]["Sych"]["Average"]
    average["EMG"]["ave_r"] = np.full((100, 9), 0.2)
    with pytest.raises(FileError, match=r"Average.EMG.ave_r' has shape \(100, 9\), expected \(100, 10\)"):
        load_experiment("wang2023", write_wang(wang))
    average["EMG"]["ave_r"] = np.full((100, 10), np.nan)
    with pytest.raises(FileError, match=r"ave_r' is nan at \(1, 1\)|ave_r' is nan"):
        load_experiment("wang2023", write_wang(wang))
    del average["EMG"]
    with pytest.raises(FileError, match=r"no 'Datastr.Resample.Sych.Average.EMG'; there is hsMatrix_right"):
        load_experiment("wang2023", write_wang(wang))
    average["hsMatrix_right"] = np.array([[1, 2], [2, 3]])
    average["EMG"] = {"ave_r": np.full((100, 10), 0.2)}
    with pytest.raises(FileError, match="mean stride lasts"):
        load_experiment("wang2023", write_wang(wang))


def test_wang_refuses_other_files_and_trials(wang, write_wang, tmp_path):
    root = write_wang({"Data": 1})
    with pytest.raises(FileError, match="has no variable 'Datastr'"):
        load_experiment("wang2023", root)
    with pytest.raises(FileError, match=r"Subj04_run_63.mat: no such file"):
        load_experiment("wang2023", root, trial="run_63")
    with pytest.raises(ConfigError, match="expected one like 'walk_45'"):
        load_experiment("wang2023", root, trial="jump")
    path = root / "experimental/wang2023/Subj04/Subj04_walk_45.mat"
    write_wang(wang)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(FileError, match="not a MATLAB file, or truncated"):
        load_experiment("wang2023", root)
