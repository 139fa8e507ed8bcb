"""A movement as dynamics sees it: postures, how they change, and what the surroundings do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musclewarp.dynamics.external import ExternalForces
from musclewarp.errors import FileError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """T frames of a model's movement.

    Attributes:
        qpos: postures `(T, nq)` on the couplings.
        qvel: velocities `(T, nv)`, on the couplings.
        qacc: accelerations `(T, nv)`.
        external: forces of the surroundings, of the same frames. Without, there are none in inverse dynamics, and in
            static optimisation those under the feet of a free root are unknowns.

    Raises:
        FileError: `external` has another number of frames.
    """

    qpos: Floats
    qvel: Floats
    qacc: Floats
    external: ExternalForces | None = None

    def __post_init__(self) -> None:
        if self.external is not None and len(self.external.force) != len(self):
            raise FileError(f"external forces have {len(self.external.force)} frames, the movement {len(self)}")

    def __len__(self) -> int:
        return len(self.qpos)

    def __getitem__(self, frames: slice) -> Trajectory:
        """Some of the frames."""
        external = None if self.external is None else self.external[frames]
        return Trajectory(self.qpos[frames], self.qvel[frames], self.qacc[frames], external)
