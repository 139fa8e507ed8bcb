"""The same inverse kinematics, frame by frame, by mink and daqp: what whole-clip retargeting is compared with.

    pip install mink daqp

Each frame starts from the one before and takes Gauss-Newton steps, quadratic programs with the joint limits as
inequalities and the linearised couplings as equalities, until the couplings hold to 2 mrad (or mm) and the targets are
hardly met better by another step, after ten at most; so does GMR-Fit.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.retarget.bounds import rest_posture
from musclewarp.retarget.ik import IKConfig
from musclewarp.retarget.targets import Targets

COUPLING_TOLERANCE = 2e-3  # rad or m
STEPS, FIRST_STEPS, DAMPING = 10, 100, 1e-4


@dataclass(frozen=True, eq=False)
class MinkSolution:
    """`qpos (T, nq)`; quadratic programs solved; frames without solution, or with couplings still over 2 mrad off."""

    qpos: np.ndarray
    steps: int
    unconverged: int


def versions() -> dict[str, str]:
    """Of mink and daqp.

    Raises:
        SystemExit: one is not installed.
    """
    try:
        return {name: version(name) for name in ("mink", "daqp")}
    except PackageNotFoundError as error:
        raise SystemExit(f"{error}: the comparison needs mink and daqp; pip install mink daqp") from None


class MinkSolver:
    """Fits postures to targets one frame after the other, with the weights of `config`.

    A frame is done when a step brings its weighted error, in m, down by less than `tolerance`.
    """

    def __init__(self, model: MuscleModel, tolerance: float, config: IKConfig | None = None) -> None:
        import mink

        self.model, self.tolerance, self.config, self.mink = model, tolerance, config or IKConfig(), mink
        self.mj_model = m = copy.copy(model.stepped)
        # at the ends of their drivers' ranges the polynomials leave the coupled joints' own by up to 1 mm: there would
        # be no solution
        m.jnt_limited[m.dof_jntid[model.couplings.dependent]] = 0
        self.posture = mink.PostureTask(m, cost=np.sqrt(self.config.posture))
        self.posture.set_target(rest_posture(model))
        self.couplings, self.limits = mink.EqualityConstraintTask(m, cost=1.0), [mink.ConfigurationLimit(m)]

    def solve(self, targets: Targets) -> MinkSolution:
        """Postures that fit `targets`."""
        mink, oriented = self.mink, ~np.isnan(targets.rotations[0, :, 0])
        tasks = [self._task(site, bool(has_turn)) for site, has_turn in zip(self.model.sites, oriented, strict=True)]
        configuration = mink.Configuration(self.mj_model, rest_posture(self.model))
        if self.model.has_free_root:
            configuration.data.qpos[:3] = targets.positions[0, 0]
            configuration.update()
        qpos, total, unconverged = np.empty((len(targets.positions), self.mj_model.nq)), 0, 0
        for frame, (places, turns) in enumerate(zip(targets.positions, targets.rotations, strict=True)):
            for task, place, turn, has_turn in zip(tasks, places, turns, oriented, strict=True):
                rotation = mink.SO3(turn) if has_turn else mink.SO3.identity()
                task.set_target(mink.SE3.from_rotation_and_translation(rotation, place))
            before, held = np.inf, False
            for _ in range(STEPS if frame else FIRST_STEPS):
                try:
                    velocity = mink.solve_ik(
                        configuration, [*tasks, self.posture], 1.0, "daqp", DAMPING,
                        limits=self.limits, constraints=[self.couplings],
                    )  # fmt: skip
                except mink.NoSolutionFound:
                    break
                configuration.integrate_inplace(velocity, 1.0)
                total += 1
                error = np.sqrt(sum(np.square(task.cost * task.compute_error(configuration)).sum() for task in tasks))
                held = np.abs(self.couplings.compute_error(configuration)).max() <= COUPLING_TOLERANCE
                if held and before - error < self.tolerance:
                    break
                before = error
            unconverged += not held
            qpos[frame] = configuration.q
        return MinkSolution(qpos, total, unconverged)

    def positions(self, qpos: np.ndarray) -> np.ndarray:
        """Where the tracking sites are, `(T, S, 3)` m."""
        return Kinematics(self.model)(torch.from_numpy(qpos), jacobian=False).position.numpy()

    def _task(self, site: str, oriented: bool) -> Any:
        part = site.removeprefix("left_").removeprefix("right_")
        turn = self.config.rotation.get(part, 0.0) if oriented else 0.0
        return self.mink.FrameTask(f"{site}_mimic", "site", np.sqrt(self.config.position[part]), np.sqrt(turn))
