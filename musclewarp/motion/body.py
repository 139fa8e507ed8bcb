"""Bodies that turn a `Motion` into joint positions: the user's licensed SMPL files, or an open stand-in.

Both run through the same `smplx` layer, and have SMPL's rest frame: y up, x to the person's left, z forward, T-pose.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import smplx
import torch
from numpy.typing import ArrayLike, NDArray
from smplx.lbs import batch_rigid_transform
from smplx.utils import Struct
from smplx.vertex_ids import vertex_ids as smplx_vertex_ids

from musclewarp.errors import ConfigError, FileError
from musclewarp.files import data_root
from musclewarp.motion import deepmimic, rotations, stand_in
from musclewarp.motion.motion import GENDERS, NUM_BETAS, SMPL_JOINTS, SMPL_PARENTS, Motion
from musclewarp.motion.pickles import read_body_file
from musclewarp.motion.stand_in import SHAPE_AXES

__all__ = ["SHAPE_AXES", "Body", "BodyLayer", "JointTrajectory", "StandInBody", "body_of", "load_body"]

_OPEN = ("stand-in", deepmimic.SHAPE_SPACE)
KINDS = ("smplh", "smpl", "smplx")  # the order of preference: AMASS is mostly SMPL-H
# Where SMPL's hand joints are in bodies with fingers: the first joint of the middle finger.
_HANDS = {"smpl": (22, 23), "stand-in": (22, 23), "deepmimic": (22, 23), "smplh": (25, 40), "smplx": (28, 43)}


class JointTrajectory(NamedTuple):
    """The joints of a moving body, in the order of `SMPL_JOINTS`, in the z-up world.

    `positions` `(T, 24, 3)` m; `orientations` `(T, 24, 4)` unit quaternions wxyz, from rest frame to world.
    """

    positions: NDArray[np.float64]
    orientations: NDArray[np.float64]
    fps: float


class BodyLayer(smplx.SMPLLayer):
    """An `smplx` layer in float64, with 16 betas and as many joints as its arrays (`read_body_file`) have.

    smplx cuts a shape of fewer than `SHAPE_SPACE_DIM` dimensions to 10; padded with zeros to 16 it has enough.
    """

    SHAPE_SPACE_DIM = NUM_BETAS

    def __init__(self, arrays: Mapping[str, NDArray[Any]], gender: str, vertex_ids: dict[str, int]) -> None:
        shape = arrays["shapedirs"][:, :, :NUM_BETAS]
        padded = np.pad(shape, ((0, 0), (0, 0), (0, NUM_BETAS - shape.shape[-1])))
        super().__init__(
            "",
            data_struct=Struct(**{**arrays, "shapedirs": padded}),
            num_betas=NUM_BETAS,
            dtype=torch.float64,
            gender=gender,
            vertex_ids=vertex_ids,
        )
        self.NUM_BODY_JOINTS = arrays["kintree_table"].shape[1] - 1


class StandInBody(BodyLayer):
    """The open body of `stand_in`, whose ten shape axes are `SHAPE_AXES`, around rest joints `(24, 3)` m if given."""

    def __init__(self, gender: str = "neutral", joints: NDArray[np.float64] | None = None) -> None:
        super().__init__(stand_in.model_arrays(gender, joints), gender, stand_in.VERTEX_IDS)


@dataclass(frozen=True, eq=False)
class Body:
    """A skeleton that motions can move.

    Attributes:
        name: 'smplh', 'smpl', 'smplx', 'stand-in' or 'deepmimic'.
        gender: 'male', 'female' or 'neutral'.
        module: the `smplx` layer, in float64; it takes rotation matrices.
        file: the licensed file it came from, None for the stand-in.
    """

    name: str
    gender: str
    module: BodyLayer
    file: Path | None = None

    @property
    def shape_space(self) -> str:
        """Whose betas it takes: 'smpl' (SMPL and SMPL-H), or its name."""
        return "smpl" if self.name == "smplh" else self.name

    def rest_joints(self, betas: torch.Tensor) -> torch.Tensor:
        """Rest joints `(N, 24, 3)` m of shapes `(N, <= 16)`, in the rest frame; differentiable."""
        return self._all_rest_joints(betas)[:, self._joints]

    def _all_rest_joints(self, betas: torch.Tensor) -> torch.Tensor:
        betas = torch.nn.functional.pad(betas.double(), (0, NUM_BETAS - betas.shape[-1]))
        vertices = self.module.forward_shape(betas).v_shaped  # pyright: ignore[reportArgumentType] (a NewType there)
        return torch.einsum("jv,nvk->njk", self.module.J_regressor, vertices)

    def joints(self, motion: Motion, betas: ArrayLike | None = None) -> JointTrajectory:
        """Pose the body by a motion.

        `betas` `(<= 16,)` are of this body's own shape space. By default they are the motion's, if they are of this
        shape space; else (SMPL's betas say nothing to the stand-in) zero, with a warning where the motion's are not.

        Raises:
            ConfigError: `betas` are too many, or not finite.
        """
        shape = np.zeros(NUM_BETAS)
        if betas is None:
            betas = self._betas_of(motion)
        betas = np.asarray(betas, dtype=np.float64)
        if betas.ndim != 1 or betas.size > NUM_BETAS or not np.isfinite(betas).all():
            raise ConfigError(f"betas have shape {betas.shape}, expected at most {NUM_BETAS} finite numbers")
        shape[: betas.size] = betas
        matrices = np.tile(np.eye(3), (motion.num_frames, self.module.NUM_BODY_JOINTS + 1, 1, 1))
        matrices[:, self._joints] = rotations.to_matrix(motion.rotations)
        with torch.no_grad():  # the joints alone, as the layer itself places them, without its thousands of vertices
            rest = self._all_rest_joints(torch.from_numpy(shape)[None]).expand(motion.num_frames, -1, -1)
            turned = torch.from_numpy(matrices)
            places, _ = batch_rigid_transform(turned, rest, self.module.parents, torch.float64)  # pyright: ignore
        positions = places[:, self._joints].numpy() + motion.translation[:, None]
        return JointTrajectory(positions, _orientations(motion.rotations), motion.fps)

    @property
    def _joints(self) -> list[int]:
        return [*range(len(SMPL_JOINTS) - 2), *_HANDS[self.name]]

    def _betas_of(self, motion: Motion) -> NDArray[np.float64]:
        if motion.shape_space == self.shape_space:
            return motion.betas
        if motion.betas.any():
            warnings.warn(
                f"motion {motion.name!r} has betas of {motion.shape_space!r}, the body takes {self.shape_space!r}: "
                "its mean shape is used; give `betas` of its own to change that",
                stacklevel=3,
            )
        return np.zeros(NUM_BETAS)


def load_body(gender: str = "neutral", kind: str = "auto", root: str | Path | None = None) -> Body:
    """The user's licensed body of this gender, or the open stand-in; `Body.name` says which.

    Args:
        gender: 'male', 'female' or 'neutral'.
        kind: 'smplh', 'smpl', 'smplx', 'stand-in', or 'auto': the first of these that is there; or 'deepmimic', the
            skeleton of that character.
        root: the data root, by default `$MUSCLEWARP_DATA`, else `data`; licensed files are in its `bodies/<kind>/`.

    Raises:
        ConfigError: unknown gender or kind.
        FileError: the kind asked for is not there, or a file cannot be read.
    """
    if gender not in GENDERS:
        raise ConfigError(f"body gender is {gender!r}, expected one of {', '.join(GENDERS)}")
    if kind not in ("auto", *KINDS, *_OPEN):
        raise ConfigError(f"body kind is {kind!r}, expected one of auto, {', '.join((*KINDS, *_OPEN))}")
    if kind == deepmimic.SHAPE_SPACE:
        return Body(kind, gender, StandInBody(gender, deepmimic.rest_joints()))
    folder = (data_root() if root is None else Path(root)) / "bodies"
    for name in KINDS if kind == "auto" else (kind,):
        file = _find(folder / name, gender)
        if file is not None:
            return _licensed(name, gender, file)
    if kind in KINDS:
        raise FileError(f"{folder / kind}: no {gender} body (.pkl or .npz); data/README.md tells where to get it")
    return Body("stand-in", gender, StandInBody(gender))


def body_of(motion: Motion, kind: str = "auto", root: str | Path | None = None) -> Body:
    """The body that `motion` moves: DeepMimic's own skeleton for its clips, else `load_body` of the motion's gender.

    Raises:
        ConfigError, FileError: as `load_body`.
    """
    return load_body(motion.gender, body_kind(motion.shape_space, kind), root)


def body_kind(shape_space: str, kind: str = "auto") -> str:
    """What to ask `load_body` for, to move a motion of this shape space: "auto" is DeepMimic's own for its clips."""
    return shape_space if kind == "auto" and shape_space == deepmimic.SHAPE_SPACE else kind


def _find(folder: Path, gender: str) -> Path | None:
    # SMPL_MALE.pkl, basicModel_m_lbs_10_207_0_v1.0.0.pkl, male/model.npz
    word = re.compile(rf"(^|[_/])({gender}|{gender[0]})([_./]|$)", re.IGNORECASE)
    files = (path for path in sorted(folder.rglob("*")) if path.suffix in (".pkl", ".npz"))
    return next((path for path in files if word.search(path.relative_to(folder).as_posix())), None)


def _licensed(name: str, gender: str, file: Path) -> Body:
    arrays = read_body_file(file)
    hand = max(_HANDS[name])
    if arrays["kintree_table"].shape[1] <= hand:
        raise FileError(f"{file}: has {arrays['kintree_table'].shape[1]} joints, a body of kind {name!r} has more")
    if name == "smplx" and arrays["shapedirs"].shape[-1] < 100:
        arrays["shapedirs"] = arrays["shapedirs"][..., :10]  # ten of shape, then ten of facial expression
    ids = smplx_vertex_ids["smplx" if name == "smplx" else "smplh"]
    if len(arrays["v_template"]) <= max(ids.values()):
        raise FileError(f"{file}: has {len(arrays['v_template'])} vertices, a body of kind {name!r} has more")
    return Body(name, gender, BodyLayer(arrays, gender, ids), file)


def _orientations(local: NDArray[np.float64]) -> NDArray[np.float64]:
    world = local.copy()
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        world[:, joint] = rotations.multiply(world[:, parent], local[:, joint])
    return world
