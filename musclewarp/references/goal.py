"""`Goal`: what a reference asks of a body at some instants, and how it follows from the reference's postures."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import torch

from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.models.rotation import matrix_to_quat
from musclewarp.references.body_state import BodyState
from musclewarp.references.cycle import Placement


@dataclass(slots=True, eq=False)
class Goal(BodyState):
    """The reference at some instants. Leading dimensions: worlds, or worlds x look-ahead.

    Attributes:
        recorded_pos: `(..., S, 3)` the recording's own scaled joints, at the sites.
    """

    recorded_pos: torch.Tensor


_KIND = {"root_quat": 1}
_KIND |= dict.fromkeys(("root_linvel", "root_angvel", "site_vel"), 2)
_KIND |= dict.fromkeys(("root_pos", "site_pos", "recorded_pos"), 3)
"""Orientations, vectors and points in the world, which change as a loop leads on; all else, 0, does not."""


class GoalTable:
    """All fields of `Goal` side by side, a row for each frame: worlds gather rows once, and the fields are views."""

    def __init__(self, model: MuscleModel, device: torch.device) -> None:
        self._model, self._kinematics = model, Kinematics(model, device=device)
        m = model.mj_model
        qpos = torch.from_numpy(m.qpos0[None].copy())
        others = [torch.zeros(1, *shape, dtype=qpos.dtype) for shape in ((m.nv,), (len(model.sites), 3), (m.nu,))]
        fields = self._fields(*(value.to(device) for value in (qpos, *others)))
        self._shapes = {name: field.shape[1:] for name, field in fields.items()}
        self._widths = [shape.numel() for shape in self._shapes.values()]
        self._kind_widths = [
            sum(width for name, width in zip(fields, self._widths, strict=True) if _KIND.get(name, 0) == kind)
            for kind in range(4)
        ]

    @property
    def width(self) -> int:
        """W, numbers in a row."""
        return sum(self._widths)

    def column(self, name: str) -> slice:
        """Where a field lies."""
        before = list(self._shapes).index(name)
        start = sum(self._widths[:before])
        return slice(start, start + self._widths[before])

    def rows(self, *state: torch.Tensor) -> torch.Tensor:
        """`(F, W)` float32 of postures, velocities, recorded sites and activations of F frames."""
        return torch.cat([field.flatten(1).float() for field in self._fields(*state).values()], dim=1)

    def goal(self, rows: torch.Tensor) -> Goal:
        """`rows (..., W)` by their names."""
        parts = dict(zip(self._shapes, rows.split(self._widths, dim=-1), strict=True))
        for name, shape in self._shapes.items():
            if len(shape) > 1:
                parts[name] = parts[name].unflatten(-1, shape)
        return Goal(**parts)

    def lead_on(self, rows: torch.Tensor, place: Placement) -> torch.Tensor:
        """`rows (..., W)` of loops that have got to `place`, in place: most columns stay."""
        place = Placement(*(part.float() for part in place))
        _, quat, vectors, points = rows.split(self._kind_widths, dim=-1)
        vectors, points = (part.unflatten(-1, (-1, 3)) for part in (vectors, points))
        for part, moved in (
            (quat, place.turn_quat(quat)),
            (vectors, place.turn(vectors)),
            (points, place.place(points)),
        ):
            part.copy_(moved)
        return rows

    def _fields(
        self, qpos: torch.Tensor, qvel: torch.Tensor, recorded: torch.Tensor, activation: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """What `Goal` holds, `(F, ...)` each, sorted by kind."""
        model = self._model
        chunks = [self._kinematics(q) for q in qpos.split(512)]
        position, rotation = (torch.cat([getattr(c, key) for c in chunks]) for key in ("position", "rotation"))
        velocity = torch.cat(
            [(c.jacobian @ v[:, None, :, None]).squeeze(-1) for c, v in zip(chunks, qvel.split(512), strict=True)]
        )
        fibre_length, fibre_velocity = model.fibre_state(*muscle_lengths(model, qpos, qvel))
        fields = {
            "joint_pos": qpos[:, model.joint_qpos],
            "joint_vel": qvel[:, model.joint_dofs],
            "root_pos": position[:, 0],
            "root_quat": matrix_to_quat(rotation[:, 0]),
            "root_linvel": velocity[:, 0, :3],
            "root_angvel": velocity[:, 0, 3:],
            "site_pos": position,
            "site_vel": velocity[:, :, :3],
            "fibre_length": fibre_length,
            "fibre_velocity": fibre_velocity,
            "recorded_pos": recorded,
            "activation": activation,
        }
        return dict(sorted(fields.items(), key=lambda item: _KIND.get(item[0], 0)))


def muscle_lengths(model: MuscleModel, qpos: torch.Tensor, qvel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lengths `(F, M)` m and lengthening speeds m/s of the muscle-tendon units at F states, by MuJoCo."""
    m = model.stepped
    data = mujoco.MjData(m)
    rows = np.empty((2, len(qpos), m.nu))
    for t, (posture, velocity) in enumerate(zip(qpos.cpu().numpy(), qvel.cpu().numpy(), strict=True)):
        data.qpos[:], data.qvel[:] = posture, velocity
        mujoco.mj_fwdPosition(m, data)
        mujoco.mj_fwdVelocity(m, data)
        rows[0, t], rows[1, t] = data.actuator_length, data.actuator_velocity
    length, speed = torch.from_numpy(rows).to(qpos.device)
    return length, speed
