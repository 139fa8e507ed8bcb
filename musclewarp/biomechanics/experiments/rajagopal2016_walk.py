"""Rajagopal et al. 2016: one man walks overground; angles, moments, forces, EMG and markers, all synchronous."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from musclewarp.biomechanics.experiments.experiment import Emg, Experiment, contact_events, coordinates, ground_forces
from musclewarp.biomechanics.muscle_maps import CHANNELS
from musclewarp.motion.markers import read_trc
from musclewarp.motion.opensim import read_opensim, to_z_up

FOLDER = "rajagopal2016_walk"
_BETAS = ("knee_angle_r_beta", "knee_angle_l_beta")  # degrees, in a file that says radians


def load(folder: Path) -> Experiment:
    """Read the files of OpenSim Moco's `example3DWalking` in `folder`."""
    kinematics = read_opensim(folder / "coordinates.sto", drop=_BETAS)
    moments = read_opensim(folder / "id_walk.sto")
    forces = read_opensim(folder / "grf_walk.mot")
    emg = read_opensim(folder / "electromyography.sto").rename(CHANNELS[FOLDER])
    markers = read_trc(folder / "markers_walk.trc")
    ground = ground_forces(forces, "ground_force_*_v", "ground_force_*_p", "ground_torque_*_", "rl")
    return Experiment(
        name=FOLDER,
        task="overground walking at 1.243 m/s",
        kinematics=coordinates(kinematics),
        moments=coordinates(moments),
        ground=ground,
        # filters left a few samples slightly negative
        emg=Emg(emg.columns, np.maximum(emg.values, 0.0)[None], emg.time, False, "right", "max"),
        markers=replace(markers, positions=to_z_up(markers.positions)),
        events=contact_events(ground),
        subject_mass=85.27,
        licence="Apache-2.0",
        citation=(
            "Rajagopal A, Dembia CL, DeMers MS, Delp DD, Hicks JL, Delp SL (2016) Full-body musculoskeletal model for "
            "muscle-driven simulation of human gait. IEEE Trans Biomed Eng 63(10):2068-2079, "
            "doi:10.1109/TBME.2016.2586891; Dembia CL et al. (2020) OpenSim Moco. PLoS Comput Biol 16(12):e1008493"
        ),
        notes=(
            "the mass is the scaled model's",
            "kinematics and moments cover 0.45 to 1.799 s, forces 0 to 2.389 s: no whole right cycle (over_cycle)",
            "EMG is of the right leg, normalised to its own maximum: compare shape and timing",
        ),
        files={table.source["file"]: table.source["sha256"] for table in (kinematics, moments, forces, emg, markers)},
    )
