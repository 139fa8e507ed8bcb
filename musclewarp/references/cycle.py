"""Where a loop has got to after whole cycles: turned about the vertical and displaced, again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray


class Placement(NamedTuple):
    """A turn about z and a horizontal displacement of N things (leading dimensions `...`).

    `cosine, sine (...)` of half the angle; `shift (..., 2)` m, after the turn.
    """

    cosine: torch.Tensor
    sine: torch.Tensor
    shift: torch.Tensor

    def turn(self, vector: torch.Tensor) -> torch.Tensor:
        """World vectors `(..., V, 3)`, turned."""
        cosine, sine = self.cosine[..., None], self.sine[..., None]
        c, s = 1 - 2 * sine * sine, 2 * sine * cosine
        x, y, z = vector.unbind(-1)
        return torch.stack((c * x - s * y, s * x + c * y, z), dim=-1)

    def place(self, point: torch.Tensor) -> torch.Tensor:
        """World points `(..., V, 3)`, turned and displaced."""
        moved = self.turn(point)
        moved[..., :2] += self.shift[..., None, :]
        return moved

    def turn_quat(self, quat: torch.Tensor) -> torch.Tensor:
        """Orientations `(..., 4)`, wxyz, turned."""
        c, s = self.cosine, self.sine
        w, x, y, z = quat.unbind(-1)
        return torch.stack((c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w), dim=-1)

    def place_qpos(self, qpos: torch.Tensor) -> torch.Tensor:
        """Postures `(..., nq)` of a model with a free root, the root turned and displaced."""
        root = self.place(qpos[..., None, :3]).squeeze(-2)
        return torch.cat((root, self.turn_quat(qpos[..., 3:7]), qpos[..., 7:]), dim=-1)

    def turn_qvel(self, qvel: torch.Tensor) -> torch.Tensor:
        """Their velocities `(..., nv)`: MuJoCo takes a root's angular velocity in its own frame, which turns along."""
        return torch.cat((self.turn(qvel[..., None, :3]).squeeze(-2), qvel[..., 3:]), dim=-1)


@dataclass(frozen=True, eq=False)
class Cycle:
    """What one cycle of each of C loops does to the root, float64; nothing for clips that are none.

    Attributes:
        yaw: `(C,)` rad about z.
        displacement: `(C, 2)` m: the end is the start, turned about the world's z axis, and then displaced by this.
    """

    yaw: torch.Tensor
    displacement: torch.Tensor

    @classmethod
    def between(cls, first: torch.Tensor, last: torch.Tensor) -> Cycle:
        """From one root pose `(C, 7)`, as in `qpos`, to another; tilt and height are left out."""
        w1, x1, y1, z1 = first[:, 3:7].unbind(-1)
        w2, x2, y2, z2 = last[:, 3:7].unbind(-1)
        # w and z of last * conjugate(first): the twist about z of what lies between them
        w, z = w2 * w1 + x2 * x1 + y2 * y1 + z2 * z1, z2 * w1 - w2 * z1 + y2 * x1 - x2 * y1
        yaw = torch.remainder(2 * torch.atan2(z, w) + torch.pi, 2 * torch.pi) - torch.pi  # of q and of -q
        still = cls(yaw, torch.zeros_like(first[:, :2]))
        clips = torch.arange(len(first), device=first.device)
        turned = still.after(clips, torch.ones_like(clips)).turn(first[:, None, :3])
        return cls(yaw, last[:, :2] - turned[:, 0, :2])

    def after(self, clip: torch.Tensor, count: torch.Tensor) -> Placement:
        """Where `count (...)` cycles of loops `clip (...)` lead; backwards where it is negative."""
        half, count = self.yaw[clip] / 2, count.double()
        # sum over i < count of the displacement turned by i yaw, a geometric series of turns
        ratio = torch.where(half == 0, count, torch.sin(count * half) / torch.sin(half))
        middle = (count - 1) * half
        c, s = ratio * torch.cos(middle), ratio * torch.sin(middle)
        x, y = self.displacement[clip].unbind(-1)
        shift = torch.stack((c * x - s * y, s * x + c * y), dim=-1)
        return Placement(torch.cos(count * half), torch.sin(count * half), shift)


def cycle_of(period: NDArray[np.float64]) -> Cycle:
    """The cycle of one loop with a free root, of whose postures `(T, nq)` the first and the last count."""
    first, last = torch.from_numpy(period[[0, -1], :7])[:, None]
    return Cycle.between(first, last)
