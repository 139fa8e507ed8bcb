"""`State` and `Target`: all that observation, reward and termination terms see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from musclewarp.engines import Engine
from musclewarp.models.rotation import heading
from musclewarp.references.body_state import BodyState
from musclewarp.references.goal import Goal


@dataclass(slots=True, eq=False)
class State(BodyState):
    """An owned snapshot of N worlds, with F feet.

    Everything belongs to the new state, except what a muscle or a contact exerts: `muscle_force`, `foot_*` and
    `floor_contacts` belong to the physics step before it.

    Attributes:
        heading: `(N, 3, 3)` which way the root faces: `vectors @ heading` sees world vectors from there.
        excitation: `(N, M)` in [0, 1].
        muscle_force: `(N, M)` N, negative when pulling.
        foot_force: `(N, F, 3)` N on the foot.
        foot_cop: `(N, F, 3)` m, centre of pressure; zero without contact.
        foot_contacts: `(N, F)` contacts of each foot with the floor.
        floor_contacts: `(N,)` contacts of anything with the floor.
    """

    heading: torch.Tensor
    excitation: torch.Tensor
    muscle_force: torch.Tensor
    foot_force: torch.Tensor
    foot_cop: torch.Tensor
    foot_contacts: torch.Tensor
    floor_contacts: torch.Tensor


@dataclass(slots=True, eq=False)
class Target:
    """The reference at the state's instant, `now (N,)`, and at K instants ahead of it, `ahead (N, K)`."""

    now: Goal
    ahead: Goal


class StateReader:
    """Reads `State` from an engine; the gathers, and the casts to float32, are the copies that make it owned."""

    def __init__(self, engine: Engine) -> None:
        model, device = engine.model, engine.device
        self.engine = engine
        self._qpos = torch.as_tensor(model.joint_qpos, device=device)
        self._dofs = torch.as_tensor(model.joint_dofs, device=device)
        names = [f"{site}_{quantity}" for quantity in ("pos", "linvel") for site in model.sites]
        names += [f"{model.sites[0]}_quat", f"{model.sites[0]}_angvel", *(f"foot_{foot}" for foot in model.feet)]
        columns = np.arange(model.mj_model.nsensordata)
        # one gather for all, in the order in which `__call__` splits it
        gathered = [columns[model.sensor_slice(name)] for name in names]
        gathered += [columns[model.sensor_slice("floor")][:1]] if model.feet else []
        self._columns = torch.as_tensor(np.concatenate(gathered), device=device)
        sites, feet = len(model.sites), len(model.feet)
        self._widths = (3 * sites, 3 * sites, 4, 3, 10 * feet, min(feet, 1))
        self._no_feet = [torch.zeros(engine.num_worlds, *shape, device=device) for shape in ((0, 3), (0, 3), (0,), ())]

    def __call__(self) -> State:
        """The state of all worlds now."""
        engine, worlds = self.engine, self.engine.num_worlds
        sensors = engine.derived["sensordata"].index_select(1, self._columns).float()
        site_pos, site_vel, root_quat, root_angvel, feet, floor = sensors.split(self._widths, dim=1)
        site_pos, site_vel = site_pos.view(worlds, -1, 3), site_vel.view(worlds, -1, 3)
        fibre_length, fibre_velocity = engine.model.fibre_state(
            engine.derived["actuator_length"], engine.derived["actuator_velocity"]
        )
        foot_force, foot_cop, foot_contacts, floor_contacts = self._no_feet
        if engine.model.feet:
            contacts, force, torque, position = feet.view(worlds, -1, 10).split((1, 3, 3, 3), dim=-1)
            foot_force, foot_contacts, floor_contacts = -force, contacts.squeeze(-1), floor.squeeze(-1)
            foot_cop = _center_of_pressure(foot_force, -torque, position)
        return State(
            joint_pos=engine.qpos.index_select(1, self._qpos).float(),
            joint_vel=engine.qvel.index_select(1, self._dofs).float(),
            root_pos=site_pos[:, 0],
            root_quat=root_quat,
            root_linvel=site_vel[:, 0],
            root_angvel=root_angvel,
            site_pos=site_pos,
            site_vel=site_vel,
            fibre_length=fibre_length,
            fibre_velocity=fibre_velocity,
            activation=engine.act.to(torch.float32, copy=True),
            heading=heading(root_quat),
            excitation=engine.ctrl.to(torch.float32, copy=True),
            muscle_force=engine.derived["actuator_force"].to(torch.float32, copy=True),
            foot_force=foot_force,
            foot_cop=foot_cop,
            foot_contacts=foot_contacts,
            floor_contacts=floor_contacts,
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
