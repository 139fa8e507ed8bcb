"""What inverse kinematics asks of each frame alone: sites in place, nothing in the floor, near the rest posture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from musclewarp.models import MuscleModel
from musclewarp.models.composite import Composite, point_springs
from musclewarp.models.kinematics import Kinematics, cross
from musclewarp.motion import rotations
from musclewarp.retarget.bounds import rest_posture
from musclewarp.retarget.ground import Ground, Pull, limb_sites
from musclewarp.retarget.ik_config import IKConfig, site_weights
from musclewarp.retarget.targets import Targets


class Frames(NamedTuple):
    """Some frames of a clip as they are: B postures, S sites, O of them oriented, P parts of the surface.

    `frames` of the clip; `cost (B,)`; `links (L, 3, 4, B)`; `position (S, 3, B)`; `turn (B, O, 3)`, the
    rotation vectors to the goals; `lowest (P, 3, B)`, the lowest point of each part.
    """

    frames: slice
    cost: torch.Tensor
    qpos: torch.Tensor
    links: torch.Tensor
    position: torch.Tensor
    turn: torch.Tensor
    lowest: torch.Tensor


class Slopes(NamedTuple):
    """Hessian of Gauss and Newton `(B, n, n)` and descent direction `(B, n)` of some frames.

    `screws (C, 6, B)` are those of `Composite`, `pull` is the floor's, if there is one.
    """

    hessian: torch.Tensor
    gradient: torch.Tensor
    screws: torch.Tensor
    pull: Pull | None


class Tracking:
    """The costs that know one frame alone."""

    def __init__(self, model: MuscleModel, targets: Targets, config: IKConfig, ground: Ground | None) -> None:
        self.model, self.config, self.ground = model, config, ground
        bodies, offsets = model.site_body_ids, model.mj_model.site_pos[model.site_ids]
        if ground is not None:
            bodies = np.concatenate((bodies, ground.surface.bodies))
            offsets = np.concatenate((offsets, ground.surface.centres))
        self.kinematics = Kinematics(model, bodies, offsets)
        self.composite = Composite(model.couplings, self.kinematics)
        self.goal = torch.from_numpy(targets.positions).permute(1, 2, 0).contiguous()
        self.oriented = np.flatnonzero(~np.isnan(targets.rotations[0, :, 0]))
        self.goal_rotation = rotations.to_matrix(targets.rotations[:, self.oriented])
        part = [site.removeprefix("left_").removeprefix("right_") for site in model.sites]
        sites, frames = len(part), self.goal.shape[-1]
        rotation = [config.rotation.get(part[site], 0.0) for site in self.oriented]
        self.weight = site_weights(model, config)[:, None, None].repeat(1, 3, frames)
        self.turn_weight = torch.tensor(rotation, dtype=torch.float64)
        for limb, stands in enumerate(ground.stance.T if ground else ()):
            for site in limb_sites(model, limb):
                self.weight[site, :2, stands] *= config.standing
        self.turn_springs = torch.zeros(sites, 6, 6, 1, dtype=torch.float64)
        for axis in range(3):
            self.turn_springs[self.oriented, axis, axis, 0] = self.turn_weight
        self.rest = torch.from_numpy(rest_posture(model))
        # the rest posture says nothing about where the person is
        self.scalar = torch.from_numpy(np.isin(model.couplings.independent, model.joint_dofs))
        self.posture = config.posture * self.scalar
        joint = model.mj_model.dof_jntid[model.couplings.independent]
        self.scalar_qpos = torch.as_tensor(model.mj_model.jnt_qposadr[joint])

    def initial_guess(self) -> torch.Tensor:
        """The relaxed posture `(T, nq)`, where and how the root should be."""
        model, frames = self.model, self.goal.shape[-1]
        qpos = self.rest.expand(frames, -1).clone()
        if model.has_free_root:
            root = self.oriented.tolist().index(0)
            qpos[:, :3] = self.goal[0].T
            site = self.kinematics(self.rest[None], jacobian=False).rotation[0, 0].numpy()
            turned = self.goal_rotation[:, root] @ site.T @ rotations.to_matrix(self.rest[3:7].numpy())
            qpos[:, 3:7] = torch.from_numpy(rotations.continuous(rotations.from_matrix(turned)))
        return model.couplings.project_qpos(qpos)

    def joint_values(self, qpos: torch.Tensor) -> torch.Tensor:
        """Values of the independent hinge and slide joints `(T, n)`; zero for the root's dofs."""
        return torch.where(self.scalar, qpos[:, self.scalar_qpos], torch.zeros((), dtype=qpos.dtype))

    def at(self, qpos: torch.Tensor, frames: slice) -> Frames:
        """The frames `frames` at `qpos (B, nq)`."""
        links = self.kinematics.walk(qpos)
        position, rotation = self.kinematics.points(links)
        sites = len(self.weight)
        turned = rotation[:sites][self.oriented].permute(3, 0, 1, 2)
        turn = self.goal_rotation[frames] @ turned.transpose(-1, -2).numpy()
        turn = torch.from_numpy(rotations.to_rotvec(rotations.from_matrix(turn)))
        error = (self.goal[..., frames] - position[:sites]).square()
        cost = (self.weight[..., frames] * error).sum((0, 1)) + (self.turn_weight * turn.square().sum(-1)).sum(1)
        cost += (self.posture * self._off(qpos).square()).sum(1)
        lowest = position[sites:]
        if self.ground is not None:
            lowest = self.ground.surface.lowest(lowest, rotation[sites:])
            pull = self.pull(frames, lowest[:, 2])
            cost += pull.constant + (pull.weight * (pull.goal - lowest[:, 2].T).square()).sum(1)
        return Frames(frames, cost, qpos, links, position[:sites], turn, lowest)

    def _off(self, qpos: torch.Tensor) -> torch.Tensor:
        return self.joint_values(self.rest[None]) - self.joint_values(qpos)

    def pull(self, frames: slice, heights: torch.Tensor) -> Pull:
        """The floor's, of the frames `frames`, if the lowest points of the surface's parts have `heights (P, B)`."""
        assert self.ground is not None
        return self.ground.at(frames).pull(heights.T, self.config.stance, self.config.penetration)

    def slopes(self, here: Frames) -> Slopes:
        """Of the cost `here`."""
        screws = self.composite.screws(here.qpos, here.links)
        weight = self.weight[..., here.frames]
        place, force, pull = here.position, weight * (self.goal[..., here.frames] - here.position), None
        if self.ground is not None:
            pull = self.pull(here.frames, here.lowest[:, 2])
            up = torch.stack((pull.weight.T, pull.weight.T * (pull.goal.T - here.lowest[:, 2])))
            up = torch.nn.functional.pad(up[:, :, None], (0, 0, 2, 0))  # neither along x nor y
            place, weight, force = (torch.cat(pair) for pair in ((place, here.lowest), (weight, up[0]), (force, up[1])))
        springs, wrenches = point_springs(place, weight), torch.cat((cross(place, force), force), dim=1)
        springs[: len(self.weight)] += self.turn_springs
        wrenches[self.oriented, :3] += (self.turn_weight[:, None] * here.turn).permute(1, 2, 0)
        hessian, gradient = self.composite.pull(screws, springs, wrenches)
        hessian.diagonal(dim1=1, dim2=2).add_(self.posture)
        return Slopes(hessian, gradient + self.posture * self._off(here.qpos), screws, pull)

    def heights_after(self, here: Frames, screws: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """Heights `(P, B)` m of what is lowest of the parts of the surface after a step `(B, n)`, to first order."""
        turn, shift = self.composite.velocities(screws, delta)[len(self.weight) :].split(3, dim=1)
        return here.lowest[:, 2] + (shift + cross(turn, here.lowest))[:, 2]

    def height_slopes(
        self, here: Frames, screws: torch.Tensor, frame: torch.Tensor, part: torch.Tensor
    ) -> torch.Tensor:
        """Slopes `(M, n)` of the heights of M parts of the surface, each in its frame."""
        turn, shift = screws[..., frame].split(3, dim=1)
        rise = (shift + cross(turn, here.lowest[part, :, frame].T[None]))[:, 2]
        return self.composite.of_dofs(rise, part + len(self.weight))
