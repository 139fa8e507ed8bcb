"""Independent parts of a body: joints that share no muscle, directly or through others, as limbs and trunk.

A muscle redundancy problem falls apart along them, and parts of equal size are a batch of small problems instead of one
large one. All are padded to the size of the largest, with joints that nothing moves and muscles that move nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


class Parts:
    """P parts of at most J' of J joints and M' of M muscles.

    Joints without a muscle, and muscles without a joint, belong to the first part.

    Args:
        related: `(J, M)`, which muscles can move which joints.
        device: where the tensors live.

    Attributes:
        shape: (P, J', M').
    """

    def __init__(self, related: NDArray[np.bool_], device: torch.device | str = "cpu") -> None:
        joints, muscles = related.shape
        row, column = related.nonzero()
        links = coo_array((np.ones(len(row)), (row, joints + column)), shape=(joints + muscles,) * 2)
        label = connected_components(links, directed=False)[1]
        alone = np.concatenate((~related.any(axis=1), ~related.any(axis=0)))
        _, connected = np.unique(label[~alone], return_inverse=True)
        part = np.zeros(joints + muscles, dtype=np.int64)
        part[~alone] = connected
        self._joint_part, self._muscle_part = part[:joints], part[joints:]
        self._joint_rank, self._muscle_rank = _rank(self._joint_part), _rank(self._muscle_part)
        self.shape = (int(part.max()) + 1, int(self._joint_rank.max()) + 1, int(self._muscle_rank.max()) + 1)
        count, rows, columns = self.shape
        to_joint, to_muscle = (
            self._joint_part * rows + self._joint_rank,
            self._muscle_part * columns + self._muscle_rank,
        )
        from_joint, from_muscle = np.full(count * rows, joints), np.full(count * columns, muscles)
        from_joint[to_joint], from_muscle[to_muscle] = np.arange(joints), np.arange(muscles)
        self._to_joint, self._to_muscle, self._from_joint, self._from_muscle = (
            torch.tensor(index, device=device) for index in (to_joint, to_muscle, from_joint, from_muscle)
        )

    def place(self, joint: NDArray[np.int64], muscle: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the pairs of `joint` and `muscle`, each of one part, lie in a flat `(P, J', M')`."""
        return np.ravel_multi_index(
            (self._joint_part[joint], self._joint_rank[joint], self._muscle_rank[muscle]), self.shape
        )

    def split_joints(self, values: torch.Tensor) -> torch.Tensor:
        """`(N, J)` as `(N P, J')`, zero where there is no joint."""
        return _pick(values, self._from_joint).view(-1, self.shape[1])

    def split_muscles(self, values: torch.Tensor) -> torch.Tensor:
        """`(N, M)` as `(N P, M')`, zero where there is no muscle."""
        return _pick(values, self._from_muscle).view(-1, self.shape[2])

    def join_joints(self, values: torch.Tensor) -> torch.Tensor:
        """`(N P, J')` as `(N, J)`."""
        return values.reshape(-1, len(self._from_joint)).index_select(1, self._to_joint)

    def join_muscles(self, values: torch.Tensor) -> torch.Tensor:
        """`(N P, M')` as `(N, M)`."""
        return values.reshape(-1, len(self._from_muscle)).index_select(1, self._to_muscle)


def _rank(part: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many before each belong to the same part."""
    rank = np.empty_like(part)
    for k in np.unique(part):
        members = part == k
        rank[members] = np.arange(members.sum())
    return rank


def _pick(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, 1)).index_select(1, index)
