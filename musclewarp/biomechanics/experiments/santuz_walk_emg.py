"""Santuz et al. 2020: EMG of 13 right-leg muscles of 15 adults who walk on a treadmill."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from musclewarp.biomechanics.experiments.experiment import Emg, Event, Experiment
from musclewarp.biomechanics.muscle_maps import CHANNELS
from musclewarp.errors import FileError
from musclewarp.motion.text import read_csv, read_lines

FOLDER = "santuz_walk_emg"
STANCE_FRACTION = 0.637  # of subject ID0012, the only one of whom it is published
MUSCLES = CHANNELS[FOLDER]
_POINTS = 100  # of stance, and as many of swing


def load(folder: Path, stance_fraction: float = STANCE_FRACTION) -> Experiment:
    """Read the exported tables in `folder`; stance takes `stance_fraction` of the cycle."""
    if not 0 < stance_fraction < 1:
        raise FileError(f"stance_fraction is {stance_fraction}, expected a number between 0 and 1")
    raw = read_csv(folder / "raw_emg_ID0012.csv", ["time", *MUSCLES])
    time = raw["time"].astype(np.float64)
    cycles = read_csv(folder / "raw_cycles_ID0012.csv", ["V1", "V2"])
    events = [Event(float(t), "right", "heel strike") for t in cycles["V1"]]
    events += [Event(float(t), "right", "toe off") for t in cycles["V2"]]
    names = ("emg_15subjects_200pts.csv", "raw_emg_ID0012.csv", "raw_cycles_ID0012.csv")
    return Experiment(
        name=FOLDER,
        task="treadmill walking",
        emg=_mean_cycles(folder / names[0], stance_fraction),
        raw_emg=Emg(
            tuple(MUSCLES.values()), _stack(raw)[None], time, False, "right", "", subjects=("ID0012_TW_01",), unit=""
        ),
        events=tuple(sorted(events, key=lambda event: event.time)),
        licence="MIT, Copyright (c) 2021 Alessandro Santuz",
        citation=(
            "Santuz A (2022) musclesyneRgies. JOSS 7(74):4439, doi:10.21105/joss.04439; Santuz A et al. (2020) "
            "Neuromotor dynamics of human locomotion in challenging settings. iScience 23:100796, "
            "doi:10.1016/j.isci.2019.100796"
        ),
        notes=(
            f"stance, the first 100 of 200 points, is taken as {stance_fraction:g} of the cycle for everybody",
            "mean cycles are normalised to their own amplitude: compare shape and timing",
            "the raw EMG is of one trial of subject ID0012, in the units of its amplifier",
        ),
        files={name: read_lines(folder / name)[1] for name in names},
    )


def _stack(columns: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([columns[short].astype(np.float64) for short in MUSCLES], axis=-1)


def _mean_cycles(path: Path, stance_fraction: float) -> Emg:
    columns = read_csv(path, ["point", *MUSCLES], text=["subject"])
    subjects = tuple(dict.fromkeys(columns["subject"].tolist()))
    values = _stack(columns)
    expected = np.arange(1, 2 * _POINTS + 1)
    cycles = []
    for subject in subjects:
        rows = columns["subject"] == subject
        if not np.array_equal(columns["point"][rows], expected):
            raise FileError(f"{path}: the points of '{subject}' are not 1 to {len(expected)} in order: truncated?")
        cycles.append(values[rows])
    stance = np.linspace(0.0, stance_fraction, _POINTS)
    swing = np.linspace(stance_fraction, 1.0, _POINTS)
    phases = np.concatenate([stance, swing])
    return Emg(tuple(MUSCLES.values()), np.stack(cycles), phases, True, "right", "mean cycle", subjects)
