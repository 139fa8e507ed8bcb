"""Wang et al. 2023: nine people walk and run on a treadmill; mean right gait cycles of angles, moments and EMG.

Layout, below `experimental/wang2023/` (what `Processed_data.rar` unpacks to): `Subj04/Subj04_walk_45.mat`, with

    Datastr.Resample.FrameRate                                frames per second
    Datastr.Resample.Sych.IKAngDataLabel, .IDTrqDataLabel     names of columns
    Datastr.Resample.Sych.Average.hsMatrix_right              (cycles, 2) frames of heel strikes
    Datastr.Resample.Sych.Average.{IKAngData, IDTrqData, EMG}.ave_r   (100, columns), the first one time
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from musclewarp.biomechanics.experiments.experiment import Emg, Experiment, coordinates
from musclewarp.biomechanics.experiments.matlab import MatlabStruct, load_struct
from musclewarp.errors import ConfigError, FileError
from musclewarp.motion.opensim import column_unit
from musclewarp.motion.table import Table

FOLDER = "wang2023"
MUSCLES = (
    "soleus", "gastrocnemius_medialis", "gastrocnemius_lateralis", "tibialis_anterior", "semimembranosus",
    "biceps_femoris", "vastus_lateralis", "rectus_femoris", "vastus_medialis",
)  # fmt: skip
_POINTS = 100


def load(folder: Path, subject: int = 4, trial: str = "walk_45") -> Experiment:
    """Read the mean right cycle of one trial: 'walk_45' is at 4.5 km/h."""
    speed = re.fullmatch(r"(walk|run)_(\d+)", trial)
    if not speed:
        raise ConfigError(f"trial is '{trial}', expected one like 'walk_45' or 'run_63' (tenths of km/h)")
    person = f"Subj{subject:02d}"
    path = folder / person / f"{person}_{trial}.mat"
    resampled = load_struct(path, "Datastr").struct("Resample")
    synchronous = resampled.struct("Sych")
    average = synchronous.struct("Average")
    strikes = average.numbers("hsMatrix_right", (None, 2))
    duration = float(np.mean(strikes[:, 1] - strikes[:, 0]) / resampled.numbers("FrameRate", (1,))[0])
    if not 0.2 < duration < 5:
        raise FileError(f"{path}: its mean stride lasts {duration:g} s by hsMatrix_right and FrameRate")
    has_moments = {"IDTrqDataLabel"} <= set(synchronous.fields()) and "IDTrqData" in average.fields()
    return Experiment(
        name=FOLDER,
        task=f"treadmill {trial}, {person}, mean right cycle",
        # of the family of gait2392: the knees extend positively, in angles and in moments
        kinematics=coordinates(_table(path, synchronous, "IKAngData", duration, np.pi / 180), True),
        moments=coordinates(_table(path, synchronous, "IDTrqData", duration, 1.0), True) if has_moments else None,
        emg=_emg(average, person),
        treadmill_speed=int(speed[2]) / 36.0,
        licence="CC BY 3.0 NL",
        citation=(
            "Wang H, Basu A, Durandau G, Sartori M (2023) A wearable real-time kinetic measurement sensor setup for "
            "human locomotion. Wearable Technologies 4:e11, doi:10.1017/wtc.2023.7; data doi:10.5281/zenodo.6457662"
        ),
        notes=(
            "means over cycles from right heel strike to right heel strike; time is phase times the mean stride",
            "EMG is of the right leg",
        ),
        files={path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
    )


def _table(path: Path, synchronous: MatlabStruct, name: str, duration: float, angle: float) -> Table:
    labels = synchronous.texts(f"{name}Label")
    values = synchronous.struct("Average", name).numbers("ave_r", (_POINTS, len(labels)))
    if labels[0].lower() != "time":
        raise FileError(f"{path}: the first of '{name}Label' is '{labels[0]}', expected 'time'")
    units = [column_unit(label) for label in labels[1:]]
    scale = np.array([angle if unit == "rad" else 1.0 for unit in units])
    time = np.linspace(0.0, duration, _POINTS)
    return Table(f"{path.name} {name}", time, tuple(labels[1:]), values[:, 1:] * scale, tuple(units))


def _emg(average: MatlabStruct, person: str) -> Emg:
    values = average.struct("EMG").numbers("ave_r", (_POINTS, 1 + len(MUSCLES)))[:, 1:]
    flags = {name: name in average.fields() and bool(average.value(name)) for name in
             ("EMGAvedynNorFlag", "EMGAveNorFlag")}  # fmt: skip
    normalised = "mean cycle" if flags["EMGAvedynNorFlag"] else "mvc" if flags["EMGAveNorFlag"] else ""
    phase = np.linspace(0.0, 1.0, _POINTS)
    unit = "1" if normalised else ""
    return Emg(MUSCLES, values[None], phase, True, "right", normalised, subjects=(person,), unit=unit)
