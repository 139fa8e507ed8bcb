"""What a person in the mirror sees and does: observations and actions, left for right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from musclewarp.envs.config import EnvConfig
from musclewarp.errors import ModelError
from musclewarp.models import MuscleModel
from musclewarp.models.mirror import Mirror, partners

_SCALAR, _POLAR, _AXIAL = (1.0,), (1.0, -1.0, 1.0), (-1.0, 1.0, -1.0)
"""In the heading frame, x forward, y left, z up: vectors, and those that turn with a right hand."""
_ROOT_FRAME = (1.0, 1.0, -1.0)  # x forward, y up in both models
PARTS: dict[str, tuple[str | tuple[float, ...], ...]] = {  # of one instant of each observation
    **dict.fromkeys(("joint_pos", "joint_vel", "ahead_joint_pos", "ahead_joint_vel"), ("joints",)),
    **dict.fromkeys(("fibre_length", "fibre_velocity", "muscle_force", "activation"), ("muscles",)),
    **dict.fromkeys(("stretch", "stretch_velocity", "reference_activation"), ("muscles",)),
    "root_height": (_SCALAR,),
    "root_tilt": (_ROOT_FRAME,),
    "root_velocity": (_POLAR, _AXIAL),
    "foot_force": ("feet",),
    "ahead_site_pos": ("sites",),
    "ahead_root": (_POLAR,) * 4,
}


@dataclass(frozen=True, eq=False)
class Swap:
    """`x[..., source] * sign` is the mirror image of `x (..., D)`; twice, it is `x` again."""

    source: torch.Tensor
    sign: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The mirror image of `x (..., D)`."""
        return x[..., self.source] * self.sign

    @classmethod
    def of(cls, partner: np.ndarray, sign: np.ndarray | tuple[float, ...] = _SCALAR) -> Swap:
        """Of things side by side, the i-th with the partner `partner[i]`, each of as many numbers as `sign` has.

        `sign` is `(D,)`, the same for all, or `(len(partner), D)`.
        """
        signs = np.broadcast_to(np.asarray(sign, dtype=np.float32), (len(partner), np.shape(sign)[-1]))
        size = signs.shape[1]
        source = (partner[:, None] * size + np.arange(size)).ravel()
        return cls(torch.from_numpy(source), torch.tensor(signs.ravel()))

    @classmethod
    def joined(cls, swaps: list[Swap]) -> Swap:
        """Of everything that `swaps` are of, side by side."""
        starts = np.cumsum([0, *(len(swap.source) for swap in swaps)])
        index = torch.cat([swap.source + int(start) for swap, start in zip(swaps, starts, strict=False)])
        return cls(index, torch.cat([swap.sign for swap in swaps]))

    def to(self, device: torch.device | str) -> Swap:
        """On `device`."""
        return Swap(self.source.to(device), self.sign.to(device))


class Symmetry:
    """Swaps of a task: `observations` by key of the environment's TensorDict, and `action`.

    Raises:
        ModelError: a muscle, joint, site or foot has no partner, or a joint's axis no mirror image.
    """

    def __init__(self, model: MuscleModel, config: EnvConfig) -> None:
        mirror = Mirror.from_model(model.mj_model)
        if mirror is None:
            raise ModelError(f"'{model.name}' has no left and right; leave ppo.symmetry out")
        self._swaps = _swaps(model, mirror)
        seen = {"observation": config.observations, "critic_observation": config.critic_observations}
        instants = {name: len(config.lookahead) for name in PARTS if name.startswith("ahead_")}
        self.observations = {
            key: Swap.joined([self._term(name) for name in names for _ in range(instants.get(name, 1))])
            for key, names in seen.items()
            if names
        }
        self.action = self._swaps["joints" if config.control.mode == "joint_targets" else "muscles"]

    def to(self, device: torch.device | str) -> Symmetry:
        """Itself, on `device`."""
        self.observations = {key: swap.to(device) for key, swap in self.observations.items()}
        self.action = self.action.to(device)
        return self

    def _term(self, name: str) -> Swap:
        alone = np.zeros(1, dtype=int)
        return Swap.joined([self._swaps[p] if isinstance(p, str) else Swap.of(alone, p) for p in PARTS[name]])


def _swaps(model: MuscleModel, mirror: Mirror) -> dict[str, Swap]:
    m = model.mj_model
    joints = m.dof_jntid[model.joint_dofs]
    column = {int(joint): i for i, joint in enumerate(joints)}
    sites = partners(model.sites)
    found = {
        "muscles": mirror.muscle,
        "joints": np.array([column.get(int(joint), -1) for joint in mirror.joint[joints]]),
        "sites": sites[1:] - 1,  # all but the root
        "feet": partners(model.feet),
    }
    for kind, partner in found.items():
        if (partner < 0).any():
            raise ModelError(
                f"'{model.name}' has {kind} without a partner on the other side: `musclewarp models check`"
            )
    sign, rest = mirror.joint_sign[joints], m.qpos0[model.joint_qpos]
    if not sign.all() or np.abs(rest[found["joints"]] - sign * rest).max() > 1e-6:
        raise ModelError(f"the joints of '{model.name}' are no mirror images of each other: `musclewarp models check`")
    return {
        "muscles": Swap.of(found["muscles"]),
        "joints": Swap.of(found["joints"], sign[found["joints"]][:, None]),
        "sites": Swap.of(found["sites"], _POLAR),
        "feet": Swap.of(found["feet"], _POLAR),
    }
