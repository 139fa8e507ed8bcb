"""Static optimisation: muscle activations that produce the joint moments of a movement, frame by frame.

For each frame, the activations `a` of a rigid-tendon Hill model minimise

    |R^T (g * a + p) - tau|^2 + e^2 |a|^2,   0 <= a <= 1

over the independent coordinates: `tau` are the moments of inverse dynamics, `R` the moment arms, `g` and `p` the active
gain and the passive force at the current lengths and velocities. Least squares instead of an equality, so that a
moment that no activation can produce is met as far as possible and reported.

Source: Crowninshield & Brand 1981 (J. Biomech. 14:793), with the quadratic criterion.
"""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np
import scipy.optimize
import torch
from numpy.typing import NDArray

from musclewarp.dynamics.inverse import inverse_dynamics
from musclewarp.errors import ModelError, MusclewarpError
from musclewarp.models import MuscleModel

Floats = NDArray[np.float64]
EFFORT = 0.3  # Nm: e, the moment error that a muscle at full activation is worth


class StaticOptimization(NamedTuple):
    """`activations (T, M)` in [0, 1], and what is missing of the moments, `residual (T, J)` in Nm (N for slides)."""

    activations: Floats
    residual: Floats


def optimize_activations(
    model: MuscleModel, qpos: Floats, qvel: Floats, qacc: Floats, max_activation: float = 1.0
) -> StaticOptimization:
    """Activations for a movement without contacts.

    Args:
        model: one with a fixed root; a free one needs the ground's forces, which are not known here.
        qpos: postures `(T, nq)`.
        qvel: velocities `(T, nv)`.
        qacc: accelerations `(T, nv)`.
        max_activation: upper bound of the activations.

    Raises:
        ModelError: the model has a free root.
        MusclewarpError: the solver did not converge in a frame.
    """
    if model.has_free_root:
        raise ModelError(f"model '{model.name}' stands on the ground: its moments depend on forces that are not given")
    m = model.mj_model
    data = mujoco.MjData(m)
    tau = inverse_dynamics(model, qpos, qvel, qacc).moments
    activations = np.zeros((len(qpos), m.nu))
    residual = np.zeros((len(qpos), len(model.couplings.independent)))
    moment = np.zeros((m.nu, m.nv))
    for t in range(len(qpos)):
        data.qpos[:], data.qvel[:] = qpos[t], qvel[t]
        mujoco.mj_fwdPosition(m, data)
        mujoco.mj_fwdVelocity(m, data)
        passive, gain = _forces(m, data, 0.0), _forces(m, data, 1.0)
        gain -= passive
        sparse = (data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind)
        mujoco.mju_sparse2dense(moment, *sparse)
        arms = model.couplings.reduce_columns(torch.from_numpy(qpos[t]), torch.from_numpy(moment)).numpy().T
        try:
            activations[t] = _bounded_least_squares(arms * gain, tau[t] - arms @ passive, max_activation)
        except RuntimeError as error:
            raise MusclewarpError(
                f"static optimisation of '{model.name}' did not converge in frame {t} ({error}), which needs up to "
                f"{np.abs(tau[t]).max():.3g} Nm: look there for a jump in the recording, or cut the clip before it"
            ) from error
        residual[t] = arms @ (gain * activations[t] + passive) - tau[t]
    return StaticOptimization(activations, residual)


def _forces(m: mujoco.MjModel, data: mujoco.MjData, activation: float) -> Floats:
    data.act[:] = activation
    mujoco.mj_fwdActuation(m, data)
    return data.actuator_force.copy()


def _bounded_least_squares(matrix: Floats, goal: Floats, upper: float) -> Floats:
    """argmin |A a - b|^2 + e^2 |a|^2 over 0 <= a <= upper; RuntimeError where the solver does not converge."""
    count = matrix.shape[1]
    stacked = np.vstack((matrix, EFFORT * np.eye(count)))
    padded = np.concatenate((goal, np.zeros(count)))
    activation, _ = scipy.optimize.nnls(stacked, padded)
    if activation.max() <= upper:  # most frames: the upper bounds are out of reach, and this is many times faster
        return activation
    solution = scipy.optimize.lsq_linear(stacked, padded, (0.0, upper), method="bvls")
    if not solution.success:
        raise RuntimeError(solution.message)
    return np.clip(solution.x, 0.0, upper)
