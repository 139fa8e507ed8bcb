"""Joint moments as excitations of an engine's muscles, in every world at every control step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.dynamics.excitation import excitation_for
from musclewarp.dynamics.moment_arms import MomentArms
from musclewarp.dynamics.redundancy import Redundancy, balance
from musclewarp.engines import Engine
from musclewarp.kernels.muscle_curves import gain_and_bias

_PARAMETERS = ("actuator_gainprm", "actuator_biasprm", "actuator_lengthrange", "actuator_dynprm")
_SEARCHES = 2  # a further Newton step is worth more than a step of just the right length


class MuscleCommand(NamedTuple):
    """For N worlds: `excitation (N, M)` and `activation (N, M)` at the end of the control step, in [0, 1].

    `missing (N, J)`: what these activations leave of the moments, at the current state, in Nm; `multipliers (N, J)`:
    where the next step starts from (zeros in worlds that were reset).
    """

    excitation: torch.Tensor
    activation: torch.Tensor
    missing: torch.Tensor
    multipliers: torch.Tensor


class MuscleControl:
    """Excitations that let muscles produce joint moments, with the least sum of squared activations.

    Moments are those of the model's `joint_dofs`, J of them, in float32 on the engine's device. Muscles are taken at
    the engine's current state: moment arms, force-length-velocity, passive forces, each world's own person. Limbs and
    trunk are solved apart.

    Args:
        engine: whose muscles.
        iterations: Newton steps of the solver, always as many.
        reserve: Nm, of all joints or of each `(J,)`, see `Redundancy.reserve`: where not all moments are in reach,
            joints are missed in proportion to the square of theirs. The smaller, the more iterations it takes.
    """

    def __init__(self, engine: Engine, iterations: int = 5, reserve: float | NDArray[np.float64] = 3.0) -> None:
        m, device = engine.model.mj_model, engine.device
        self._engine, self._iterations = engine, iterations
        self._moment = engine.derive("actuator_moment")
        self._arms = MomentArms(engine.model, device, torch.float32, engine.model.joint_dofs, apart=True)
        self.parts = self._arms.parts

        def constant(values: np.ndarray) -> torch.Tensor:
            return torch.tensor(values, dtype=engine.dtype, device=device)

        self._prm = {name: engine.varied.get(name, constant(getattr(m, name))) for name in _PARAMETERS}
        self._acc0 = constant(m.actuator_acc0)
        _, rows, columns = self.parts.shape
        one = torch.ones(1, columns, dtype=torch.float32, device=device)
        self._box, self._one = (one, one, torch.zeros_like(one)), torch.ones(rows, dtype=torch.float32, device=device)
        reserves = np.broadcast_to(np.asarray(reserve, dtype=np.float32), engine.model.joint_dofs.shape)
        self._reserve = torch.tensor(reserves, device=device)
        weight = self.parts.split_joints(1.0 / self._reserve[None])
        self._weight = weight.repeat(engine.num_worlds, 1)[..., None]

    def start(self) -> torch.Tensor:
        """Multipliers `(N, J)` of a first step."""
        return torch.zeros(self._engine.num_worlds, len(self._reserve), device=self._engine.device)

    def __call__(
        self,
        moments: torch.Tensor,
        multipliers: torch.Tensor,
        usual: torch.Tensor | None = None,
        known: torch.Tensor | None = None,
    ) -> MuscleCommand:
        """Excitations for joint moments.

        Args:
            moments: `(N, J)` Nm.
            multipliers: `(N, J)` of the step before.
            usual: activations `(N, M)` of the movement, deviations from which cost instead of the activations
                themselves. What muscles produce at these comes on top of `moments`.
            known: worlds `(N,)` that have usual activations; default: all.
        """
        engine, parts, (gainprm, biasprm, lengthrange, dynprm) = self._engine, self.parts, self._prm.values()
        length, velocity = engine.derived["actuator_length"], engine.derived["actuator_velocity"]
        gain, passive = gain_and_bias(length, velocity, gainprm, biasprm, lengthrange, self._acc0)
        upper, weight, linear = self._box
        given = -passive.float()  # forces that muscles need not produce, N
        if usual is not None:
            usual = usual if known is None else torch.where(known[:, None], usual, 0.0)
            given = gain.float() * usual if known is None else torch.where(known[:, None], gain.float() * usual, given)
            linear = -parts.split_muscles(usual)
        # in units of the reserves
        arms = self._arms(self._moment, engine.qpos).mul_(self._weight)
        goal = parts.split_joints(moments / self._reserve) + (arms @ parts.split_muscles(given)[..., None])[..., 0]
        problem = Redundancy(
            arms.mul_(parts.split_muscles(gain.float())[:, None]), goal, upper, weight, linear, self._one
        )
        start = parts.split_joints(multipliers * self._reserve)
        activations, multipliers = balance(problem, start, self._iterations, _SEARCHES)
        activation = parts.join_muscles(activations)
        dynamics = dynprm.float()
        physics = engine.model.physics
        excitation = excitation_for(
            engine.act.float().clamp(0.0, 1.0),
            activation,
            dynamics[..., 0],
            dynamics[..., 1],
            physics.timestep,
            physics.substeps,
        )
        missing = parts.join_joints(problem.missing(activations)) * self._reserve
        return MuscleCommand(excitation, activation, missing, parts.join_joints(multipliers) / self._reserve)
