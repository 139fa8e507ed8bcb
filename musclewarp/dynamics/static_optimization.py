"""Static optimisation: muscle activations that produce the joint moments of a movement, frame by frame.

For each frame, the activations a of a rigid-tendon Hill model minimise

    sum_i w_i a_i^p + sum_j (r_j / s_j)^2     subject to     R' (g a + q) + r = tau,   0 <= a <= 1

over the independent coordinates: tau are the moments of inverse dynamics, R the moment arms, g and q the active gain
and the passive force at the current lengths and velocities. The reserves r stand for what no activation can produce;
their strength s says which error of a moment is worth a muscle at full activation.

Source: Crowninshield & Brand 1981 (J. Biomech. 14:793); reserves as in OpenSim (Delp et al. 2007, IEEE Trans. Biomed.
Eng. 54:1940).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.dynamics.feasibility import impossible
from musclewarp.dynamics.ground import GroundForces, ground_forces
from musclewarp.dynamics.inverse import InverseDynamics, inverse_dynamics
from musclewarp.dynamics.moment_arms import MomentArms
from musclewarp.dynamics.power_cost import balance_by_power
from musclewarp.dynamics.quadratic import SOLVERS
from musclewarp.dynamics.redundancy import Redundancy
from musclewarp.dynamics.trajectory import Trajectory
from musclewarp.errors import ConfigError, MusclewarpError, require
from musclewarp.kernels.muscle_curves import gain_and_bias
from musclewarp.models import MuscleModel
from musclewarp.models.excursion import place_tendons
from musclewarp.threads import one_torch_thread

Floats = NDArray[np.float64]
_CHUNK = 128  # frames at once: 30 MB of moment arms for 354 muscles
_WEIGHTS = ("none", "force", "volume")


@dataclass(frozen=True)
class Criterion:
    """What the optimisation minimises, and how.

    Attributes:
        power: p, at least 2: 2, or 3 as in Crowninshield & Brand.
        weight: w, with a mean of 1 over the muscles: "none", "force" (peak isometric force) or "volume" (peak force
            times optimal fibre length, Happee & van der Helm 1995, J. Biomech. 28:1179).
        reserve: s of joints, Nm (N for slides).
        root_reserve: s of the six coordinates of a free root, N and Nm.
        max_activation: upper bound of the activations.
        solver: "newton", batched, or "daqp", an active-set solver, frame by frame; both find the same.
    """

    power: float = 2.0
    weight: str = "none"
    reserve: float = 0.3
    root_reserve: float = 10.0
    max_activation: float = 1.0
    solver: str = "newton"

    def __post_init__(self) -> None:
        require(self, "criterion.power", 2.0 <= self.power <= 10.0, "choose one in [2, 10]")
        for name, known in (("weight", _WEIGHTS), ("solver", tuple(SOLVERS))):
            if getattr(self, name) not in known:
                raise ConfigError(f"criterion.{name} is '{getattr(self, name)}'; choose one of {', '.join(known)}")
        for name in ("reserve", "root_reserve"):
            fine = getattr(self, name) > 0.0
            require(self, f"criterion.{name}", fine, "a reserve needs a strength above zero")
        require(self, "criterion.max_activation", 0.0 < self.max_activation <= 1.0, "choose one in (0, 1]")


class StaticOptimization(NamedTuple):
    """Of T frames, M muscles, J independent coordinates and F feet.

    `activations (T, M)` in [0, 1]; `muscle_forces (T, M)` N, active and passive, pulling; `needed`: net and passive
    moments of the joints; `residual (T, J)`: what is produced less `needed.moments`, the negative of the reserves, Nm
    (N for slides); `ground_force (T, F, 3)` N on each foot, world frame, zeros where the surroundings were given;
    `impossible (T,)`: whether no activations at all keep what is missing of every joint within its reserve's strength,
    the ground doing what it does here (see `feasibility`).
    """

    activations: Floats
    muscle_forces: Floats
    needed: InverseDynamics
    residual: Floats
    ground_force: Floats
    impossible: NDArray[np.bool_]


class MuscleProblems(NamedTuple):
    """Of T frames: the problems whose first M unknowns are activations and whose others are forces of the ground.

    `redundancy`; `needed`: net and passive moments of the joints; `gain` and `passive (T, M)`: see `muscle_effects`;
    `ground`: None where the surroundings were given.
    """

    redundancy: Redundancy
    needed: InverseDynamics
    gain: Floats
    passive: Floats
    ground: GroundForces | None


def optimize_activations(
    model: MuscleModel, trajectory: Trajectory, criterion: Criterion | None = None
) -> StaticOptimization:
    """Activations for a movement.

    A model with a free root stands on what the trajectory's external forces say. Where these are None, the forces of
    the ground are unknowns, too, within friction cones at the points of the feet near the floor, each body weight of
    them costing as much as a muscle at full activation (a simulated balance).

    Raises:
        MusclewarpError: the solver did not converge in a frame.
        ModelError: an external force acts on a body that the model does not have.
    """
    criterion, arms, parts = criterion or Criterion(), MomentArms(model), []
    with one_torch_thread():
        for start in range(0, len(trajectory), _CHUNK):
            try:
                parts.append(_optimize(model, arms, trajectory[start : start + _CHUNK], criterion))
            except MusclewarpError as error:
                raise MusclewarpError(
                    f"static optimisation of '{model.name}', frames {start} to {start + _CHUNK - 1}: {error}"
                ) from error
    activations, forces, needed, *others = zip(*parts)
    return StaticOptimization(
        np.concatenate(activations),
        np.concatenate(forces),
        InverseDynamics(*(np.concatenate(moments) for moments in zip(*needed))),
        *(np.concatenate(rows) for rows in others),
    )


def _optimize(
    model: MuscleModel, to_arms: MomentArms, trajectory: Trajectory, criterion: Criterion
) -> StaticOptimization:
    problem, needed, gain, passive, ground = muscle_problems(model, trajectory, criterion, to_arms)
    muscles = model.mj_model.nu
    solve = SOLVERS[criterion.solver]
    if criterion.power == 2.0:
        unknowns = solve(problem, None).unknowns
    else:
        unknowns = balance_by_power(problem, muscles, criterion.power, solve)
    force = np.zeros((len(trajectory), len(model.feet), 3))
    if ground is not None:
        edges = unknowns[:, muscles:].numpy()[..., None] * ground.force
        for foot in range(len(model.feet)):
            force[:, foot] = edges[:, ground.foot == foot].sum(axis=1)
    joints = np.isin(model.couplings.independent, model.joint_dofs)
    activations = unknowns[:, :muscles].numpy().copy()
    return StaticOptimization(
        activations,
        -(gain * activations + passive),
        needed,
        -problem.missing(unknowns).numpy(),
        force,
        impossible(problem, joints, unknowns),
    )


def muscle_problems(
    model: MuscleModel, trajectory: Trajectory, criterion: Criterion | None = None, to_arms: MomentArms | None = None
) -> MuscleProblems:
    """What `optimize_activations` solves, of the same arguments, for p = 2 and all frames at once."""
    criterion, muscles = criterion or Criterion(), model.mj_model.nu
    needed = inverse_dynamics(model, trajectory)
    arms, gain, passive = muscle_effects(model, to_arms or MomentArms(model), trajectory.qpos, trajectory.qvel)
    effect, upper = arms * gain[:, None], np.full((1, muscles), criterion.max_activation)
    ground = ground_forces(model, trajectory.qpos) if model.has_free_root and trajectory.external is None else None
    if ground is not None:
        effect = np.concatenate((effect, ground.effect), axis=2)
        upper = np.concatenate((upper, np.full((1, ground.effect.shape[2]), np.inf)), axis=1)
    weight = np.ones_like(upper)
    weight[0, :muscles] = _weights(model, criterion.weight)
    scalar = np.isin(model.couplings.independent, model.joint_dofs)
    redundancy = Redundancy(
        effect=torch.from_numpy(effect),
        goal=torch.from_numpy(needed.moments - np.einsum("tjm,tm->tj", arms, passive)),
        upper=torch.from_numpy(upper),
        weight=torch.from_numpy(weight),
        linear=torch.zeros(upper.shape, dtype=torch.float64),
        reserve=torch.from_numpy(np.where(scalar, criterion.reserve, criterion.root_reserve)),
    )
    return MuscleProblems(redundancy, needed, gain, passive, ground)


def muscle_effects(
    model: MuscleModel, to_arms: MomentArms, qpos: Floats, qvel: Floats
) -> tuple[Floats, Floats, Floats]:
    """Moment arms `(T, J, M)` m, active gain and passive force `(T, M)` N, both negative, for muscles pull.

    `to_arms` overwrites the arms at its next call.
    """
    m = model.mj_model
    data = mujoco.MjData(m)
    moment, length = np.empty((len(qpos), m.nJmom)), np.empty((len(qpos), m.nu))
    for t, posture in enumerate(qpos):
        place_tendons(m, data, posture)
        mujoco.mj_transmission(m, data)
        moment[t], length[t] = data.actuator_moment, data.actuator_length
    arms = to_arms(torch.from_numpy(moment), torch.from_numpy(qpos))
    # on the couplings, the independent velocities alone make a muscle's
    velocity = torch.from_numpy(qvel[:, None, model.couplings.independent]) @ arms
    parameters = (m.actuator_gainprm, m.actuator_biasprm, m.actuator_lengthrange, m.actuator_acc0)
    gain, passive = gain_and_bias(torch.from_numpy(length), velocity[:, 0], *(torch.tensor(p) for p in parameters))
    return arms.numpy(), gain.numpy(), passive.numpy()


def _weights(model: MuscleModel, kind: str) -> Floats:
    weight = np.ones(len(model.muscles))
    if kind != "none":
        weight = weight * model.muscles["peak_force"].to_numpy()
    if kind == "volume":
        weight = weight * model.muscles["optimal_fibre_length"].to_numpy()
    return weight / weight.mean()
