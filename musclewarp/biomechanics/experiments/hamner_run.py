"""Hamner & Delp: one man runs on a treadmill; joint angles and ground reaction forces of one stride."""

from __future__ import annotations

from pathlib import Path

from musclewarp.biomechanics.experiments.experiment import Experiment, contact_events, coordinates, ground_forces
from musclewarp.motion.opensim import read_opensim

FOLDER = "hamner_run"


def load(folder: Path) -> Experiment:
    """Read OpenSim's CMC test files of trial RUN4 in `folder`."""
    kinematics = read_opensim(folder / "runningModel_Kinematics_q.sto")
    forces = read_opensim(folder / "runningModel_GRF_data.mot")
    ground = ground_forces(forces, "*_ground_force_v", "*_ground_force_p", "*_ground_torque_", "RL")
    return Experiment(
        name=FOLDER,
        task="treadmill running at 3.7 m/s",
        kinematics=coordinates(kinematics, knee_extension_positive=True),
        ground=ground,
        events=contact_events(ground),
        subject_mass=72.84,
        subject_height=1.80,
        treadmill_speed=3.7,
        licence="Apache-2.0",
        citation=(
            "Hamner SR, Seth A, Delp SL (2010) Muscle contributions to propulsion and support during running. "
            "J Biomech 43(14):2709-2716; Hamner SR, Delp SL (2013) J Biomech 46(4):780-787; Rajagopal A et al. (2016) "
            "IEEE Trans Biomed Eng 63(10):2068-2079"
        ),
        notes=(
            "the pelvis stays on the treadmill; the belt's speed is that of foot markers in stance (nominally 4 m/s)",
            "subtalar, toe and wrist joints were held at zero",
        ),
        files={table.source["file"]: table.source["sha256"] for table in (kinematics, forces)},
    )
