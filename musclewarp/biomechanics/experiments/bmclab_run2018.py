"""BMClab 2018: one man runs overground; angles, moments, forces and markers of about one step of each leg."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from musclewarp.biomechanics.experiments.experiment import Experiment, contact_events, coordinates, ground_forces
from musclewarp.motion.markers import read_trc
from musclewarp.motion.opensim import read_opensim, to_z_up

FOLDER = "bmclab_run2018"


def load(folder: Path) -> Experiment:
    """Read the laboratory's OpenSim files in `folder`.

    Its static-optimisation activations are left out on purpose: reserve actuators make the moments there, no
    activation exceeds 0.04, and they must not be taken for measured ones.
    """
    kinematics = read_opensim(folder / "ik_output_run.mot")
    moments = read_opensim(folder / "inverse_dynamics.sto")
    forces = read_opensim(folder / "grf_run.mot")
    markers = read_trc(folder / "motion_capture_run.trc")
    ground = ground_forces(forces, "*_ground_force_v", "*_ground_force_p", "*_ground_torque_", "RL")
    return Experiment(
        name=FOLDER,
        task="overground running at 2.73 m/s",
        kinematics=coordinates(kinematics),
        moments=coordinates(moments),
        ground=ground,
        markers=replace(markers, positions=to_z_up(markers.positions)),
        events=contact_events(ground),
        subject_mass=70.0,
        subject_height=1.80,
        licence="CC BY 4.0",
        citation=(
            "Duarte M, Watanabe RN (2021) Notes on Scientific Computing for Biomechanics and Motor Control, "
            "doi:10.5281/zenodo.4599319"
        ),
        notes=(
            "0.81 s hold one contact of each foot and no whole stride of either: compare by phase of stance",
            "moments end 0.09 s before the kinematics",
            "subtalar, toe and wrist joints were held at zero",
        ),
        files={table.source["file"]: table.source["sha256"] for table in (kinematics, moments, forces, markers)},
    )
