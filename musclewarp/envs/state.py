"""`State` and `Target`: all that observation, reward and termination terms see."""

from __future__ import annotations

import torch
from tensordict import TensorClass

from musclewarp.engines import Engine
from musclewarp.references.library import Goal


class State(TensorClass):
    """An owned float32 snapshot of N worlds, world frame, SI units.

    J independent joints, S tracking sites (the root first), M muscles, F feet. Everything belongs to the new state,
    except what a muscle or a contact exerts: `muscle_force`, `foot_*` and `floor_contacts` belong to the physics
    step before it.

    `joint_pos, joint_vel (N, J)`; `root_pos, root_linvel, root_angvel (N, 3)`, `root_quat (N, 4)` of the root site;
    `site_pos, site_vel (N, S, 3)`; `excitation, activation (N, M)` in [0, 1]; `fibre_length (N, M)` in optimal
    fibre lengths and `fibre_velocity` per second; `muscle_force (N, M)` N, negative when pulling;
    `foot_force (N, F, 3)` N on the foot; `foot_cop (N, F, 3)` m, zero without contact; `foot_contacts (N, F)`;
    `floor_contacts (N,)`: contacts of anything with the floor.
    """

    joint_pos: torch.Tensor
    joint_vel: torch.Tensor
    root_pos: torch.Tensor
    root_quat: torch.Tensor
    root_linvel: torch.Tensor
    root_angvel: torch.Tensor
    site_pos: torch.Tensor
    site_vel: torch.Tensor
    excitation: torch.Tensor
    activation: torch.Tensor
    fibre_length: torch.Tensor
    fibre_velocity: torch.Tensor
    muscle_force: torch.Tensor
    foot_force: torch.Tensor
    foot_cop: torch.Tensor
    foot_contacts: torch.Tensor
    floor_contacts: torch.Tensor


class Target(TensorClass):
    """The reference at the state's instant, `now (N,)`, and at K instants ahead of it, `ahead (N, K)`."""

    now: Goal
    ahead: Goal


class StateReader:
    """Reads `State` from an engine; the casts to float32 are the copies that make it owned."""

    def __init__(self, engine: Engine) -> None:
        model = engine.model
        self.engine = engine
        self._qpos = torch.as_tensor(model.joint_qpos, device=engine.device)
        self._dofs = torch.as_tensor(model.joint_dofs, device=engine.device)
        columns = {
            quantity: torch.as_tensor(
                [list(range(*model.sensor_slice(f"{site}_{quantity}").indices(1 << 30))) for site in model.sites],
                device=engine.device,
            )
            for quantity in ("pos", "quat", "linvel", "angvel")
        }
        self._site_pos, self._site_vel = columns["pos"], columns["linvel"]
        self._root_quat, self._root_angvel = columns["quat"][0], columns["angvel"][0]
        self._feet = torch.as_tensor(
            [list(range(*model.sensor_slice(f"foot_{foot}").indices(1 << 30))) for foot in model.feet],
            device=engine.device,
        ).reshape(len(model.feet), 10)

    def __call__(self) -> State:
        """The state of all worlds now."""
        engine = self.engine
        sensors = engine.derived["sensordata"]
        site_pos, site_vel = sensors[:, self._site_pos].float(), sensors[:, self._site_vel].float()
        feet = (
            sensors[:, self._feet].float() if len(self._feet) else sensors.new_zeros(engine.num_worlds, 0, 10).float()
        )
        contacts, force, torque, position = feet[..., 0], -feet[..., 1:4], -feet[..., 4:7], feet[..., 7:10]
        floor = engine.sensor("floor")[:, 0] if len(self._feet) else sensors.new_zeros(engine.num_worlds)
        copies = {"excitation": engine.ctrl, "activation": engine.act}
        copies["muscle_force"] = engine.derived["actuator_force"]
        fibre_length, fibre_velocity = engine.model.fibre_state(
            engine.derived["actuator_length"], engine.derived["actuator_velocity"]
        )
        return State(
            joint_pos=engine.qpos[:, self._qpos].float(),
            joint_vel=engine.qvel[:, self._dofs].float(),
            root_pos=site_pos[:, 0],
            root_quat=sensors[:, self._root_quat].float(),
            root_linvel=site_vel[:, 0],
            root_angvel=sensors[:, self._root_angvel].float(),
            site_pos=site_pos,
            site_vel=site_vel,
            fibre_length=fibre_length,
            fibre_velocity=fibre_velocity,
            **{key: value.to(torch.float32, copy=True) for key, value in copies.items()},
            foot_force=force,
            foot_cop=_center_of_pressure(force, torque, position),
            foot_contacts=contacts,
            floor_contacts=floor.to(torch.float32, copy=True),
            batch_size=[engine.num_worlds],
            device=engine.device,
        )


def _center_of_pressure(force: torch.Tensor, torque: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Where on the horizontal floor the vertical force alone balances `torque (..., 3)` about `position`, in m.

    With an upward force Fz on a floor at the height of `position`, the moment vanishes about the x axis at
    y + Tx / Fz and about the y axis at x - Ty / Fz. Zero where Fz is under 1 N.
    """
    vertical = force[..., 2]
    loaded = vertical > 1.0
    safe = torch.where(loaded, vertical, torch.ones_like(vertical))
    shift = torch.stack((-torque[..., 1] / safe, torque[..., 0] / safe, torch.zeros_like(safe)), dim=-1)
    return torch.where(loaded[..., None], position + shift, torch.zeros_like(position))
