"""Gait120 (Boo et al. 2025): 120 men walk, climb and sit; joint angles and EMG of single steps.

Layout, below `experimental/gait120/`:

    Gait120_001_to_010/S001/JointAngle/LevelWalking/Trial05/Step01.mot   angles (the folder of ten may be missing)
    Gait120_001_to_010/S001/EMG/ConvertedData.mat                        EMG as plain structures

The release's own `EMG/ProcessedData.mat` keeps MATLAB tables, which nothing but MATLAB opens; `ConvertedData.mat` is
the same as structures (`LevelWalking.Trial05.Step01.EMGs_interpolated.<Muscle>`). Without it there is no EMG. Force
plates are not read: the release does not tell which foot was on which.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from musclewarp.biomechanics.experiments.experiment import Emg, Event, Experiment, coordinates
from musclewarp.biomechanics.experiments.matlab import load_struct
from musclewarp.errors import ConfigError, FileError
from musclewarp.motion.opensim import read_opensim

FOLDER = "gait120"
SUBJECTS = 120
TASKS = (
    "LevelWalking", "StairAscent", "StairDescent", "SlopeAscent", "SlopeDescent", "SitToStand", "StandToSit",
)  # fmt: skip
MUSCLES = {
    "VastusLateralis": "vastus_lateralis",
    "RectusFemoris": "rectus_femoris",
    "VastusMedialis": "vastus_medialis",
    "TibialisAnterior": "tibialis_anterior",
    "BicepsFemoris": "biceps_femoris",
    "Semitendinosus": "semitendinosus",
    "GastrocnemuisMedialis": "gastrocnemius_medialis",  # misspelt in the data
    "GastrocnemiusLateralis": "gastrocnemius_lateralis",
    "SoleusMedialis": "soleus_medialis",
    "SoleusLateralis": "soleus_lateralis",
    "PeroneusLongus": "peroneus_longus",
    "PeroneusBrevis": "peroneus_brevis",
}
_POINTS = 101


def load(folder: Path, subject: int = 1, task: str = "LevelWalking", trial: int = 5, step: int = 1) -> Experiment:
    """Read one step of one trial of one subject."""
    if task not in TASKS or not 1 <= subject <= SUBJECTS:
        raise ConfigError(f"subject {subject} and task '{task}'; choose 1 to {SUBJECTS} and one of {', '.join(TASKS)}")
    person = f"S{subject:03d}"
    first = (subject - 1) // 10 * 10 + 1
    homes = [folder / f"Gait120_{first:03d}_to_{first + 9:03d}" / person, folder / person]
    home = next((path for path in homes if path.is_dir()), None)
    if home is None:
        raise FileError(f"{homes[0]}: no such folder")
    angles = read_opensim(_step_file(home / "JointAngle" / task / f"Trial{trial:02d}", step))
    files = {angles.source["file"]: angles.source["sha256"]}
    emg_file, emg = home / "EMG" / "ConvertedData.mat", None
    if emg_file.is_file():
        emg = _emg(emg_file, task, trial, step, float(angles.time[0]), float(angles.time[-1]), person)
        files[emg_file.name] = hashlib.sha256(emg_file.read_bytes()).hexdigest()
    return Experiment(
        name=FOLDER,
        task=f"{task}, subject {person}, trial {trial}, step {step}",
        # the knees extend positively, and the left hip abducts positively, unlike the right one
        kinematics=coordinates(angles, knee_extension_positive=True, flip=["hip_adduction_l"]),
        emg=emg,
        events=tuple(Event(float(angles.time[i]), "left", "heel strike") for i in (0, -1) if task == "LevelWalking"),
        licence="CC BY 4.0",
        citation=(
            "Boo J, Seo D, Kim M, Koo S (2025) Comprehensive human locomotion and electromyography dataset: Gait120. "
            "Sci Data, doi:10.1038/s41597-025-05391-0; data doi:10.6084/m9.figshare.27677016"
        ),
        notes=(
            "EMG is of the right leg, normalised to MVC",
            "a step of walking is cut from heel strike to heel strike of the left foot",
            *(() if emg else ("no EMG: EMG/ConvertedData.mat is missing",)),
        ),
        files=files,
    )


def _step_file(folder: Path, step: int) -> Path:
    """`Step01.mot` or `step01.mot`: both are found in copies of the data."""
    names = (f"Step{step:02d}.mot", f"step{step:02d}.mot")
    return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])


def _emg(path: Path, task: str, trial: int, step: int, start: float, end: float, person: str) -> Emg:
    channels = load_struct(path, task).struct(f"Trial{trial:02d}", f"Step{step:02d}", "EMGs_interpolated")
    values = np.stack([channels.numbers(name, (_POINTS,)) for name in MUSCLES], axis=-1)
    instants = np.linspace(start, end, _POINTS)
    return Emg(tuple(MUSCLES.values()), values[None], instants, False, "right", "mvc", subjects=(person,))
