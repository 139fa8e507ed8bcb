"""A body of the model's size: shape and scale that make a person's segments as long as the model's."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import lightning
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.motion.body import Body
from musclewarp.motion.motion import NUM_BETAS, SMPL_JOINTS

Floats = NDArray[np.float64]
_SIDES = ("left", "right")
_SCALE = 0.05  # log scale that is as likely as a beta of 1
# segment: its ends in the model, sites, and in the body, joints; several of them are averaged
SEGMENTS = {
    "hip width": ("left_hip", "right_hip", "left_hip", "right_hip"),
    "shoulder width": ("left_shoulder", "right_shoulder", "left_shoulder", "right_shoulder"),
    "trunk": ("hips", "shoulders", "hips", "shoulders"),
    "neck": ("shoulders", "head", "shoulders", "head"),
    **{
        f"{side} {name}": (f"{side}_{start}", f"{side}_{end}", f"{side}_{first}", f"{side}_{second}")
        for side in _SIDES
        for name, start, end, first, second in (
            ("thigh", "hip", "knee", "hip", "knee"),
            ("shank", "knee", "ankle", "knee", "ankle"),
            ("foot", "ankle", "toes", "ankle", "foot"),
            ("upper arm", "shoulder", "elbow", "shoulder", "elbow"),
            ("forearm", "elbow", "hand", "elbow", "wrist"),
        )
    },
}


@dataclass(frozen=True, eq=False)
class Shape:
    """What fits a body to a model.

    Attributes:
        betas: `(16,)` of the body's shape space.
        scale: of the whole body, after its shape.
        rest_joints: `(24, 3)` m, in the body's rest frame, the pelvis at the origin.
        errors: by segment, m that it is longer than the model's.
    """

    betas: Floats
    scale: float
    rest_joints: Floats
    errors: dict[str, float]


_SHAPES: WeakKeyDictionary[Body, WeakKeyDictionary[MuscleModel, Shape]] = WeakKeyDictionary()


class ShapeFit(lightning.LightningModule):
    """Betas and scale with which a body's segments at rest are as long as those of a model.

    Least squares of the lengths, in mm², and a prior by which a beta of 1 costs as much as an error of `prior` mm.
    L-BFGS is there in a few steps.

    Args:
        body: whose shape; its betas start at zero.
        lengths: m, by the names of `SEGMENTS`; those that are not named are free.
        prior: mm.
    """

    def __init__(self, body: Body, lengths: dict[str, float], prior: float = 0.1) -> None:
        super().__init__()
        self._prior, self.segments = prior, tuple(lengths)
        with torch.no_grad():  # joints at rest are linear in the betas
            joints = body.rest_joints(torch.cat((torch.zeros(1, NUM_BETAS), torch.eye(NUM_BETAS))))
        joints = joints - joints[:, :1]
        self._mean, self._axes = joints[0], joints[1:] - joints[0]
        self._ends = torch.from_numpy(np.array([_ends(SMPL_JOINTS, *SEGMENTS[name][2:]) for name in lengths]))
        self._goal = torch.tensor(list(lengths.values()), dtype=torch.float64)
        self.betas = torch.nn.Parameter(torch.zeros(NUM_BETAS, dtype=torch.float64))
        self.log_scale = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        """Joints at rest `(24, 3)` m, the pelvis at the origin."""
        return self.log_scale.exp() * (self._mean + torch.einsum("b,bjk->jk", self.betas, self._axes))

    def errors(self, joints: torch.Tensor) -> torch.Tensor:
        """How much longer than asked for the segments between `joints (24, 3)` are, m."""
        return (self._ends @ joints).norm(dim=-1) - self._goal

    def training_step(self, *_: object) -> torch.Tensor:
        """The cost in mm²."""
        beta = torch.cat((self.betas, self.log_scale[None] / _SCALE))
        prior = (self._prior * beta).square().mean()
        return (1e3 * self.errors(self())).square().mean() + prior

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """L-BFGS with a line search."""
        return torch.optim.LBFGS(self.parameters(), max_iter=100, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def minimise(self) -> Shape:
        """Fit, and say what came out.

        Without a Trainer, which would end the process on Ctrl-C and draw random numbers, for two steps.
        """
        optimizer = self.configure_optimizers()

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            cost = self.training_step()
            cost.backward()
            return cost

        with torch.enable_grad():
            for _ in range(2):
                optimizer.step(closure)  # pyright: ignore[reportCallIssue, reportArgumentType] (it wants a float)
        with torch.no_grad():
            joints = self()
            errors = dict(zip(self.segments, self.errors(joints).tolist(), strict=True))
            rest = joints.numpy()
            rest.flags.writeable = False  # shared by all clips
            return Shape(self.betas.numpy().copy(), float(self.log_scale.exp()), rest, errors)


def fit_shape(body: Body, model: MuscleModel) -> Shape:
    """The body of the model's size; the same for all clips of a body and a model."""
    shapes = _SHAPES.setdefault(body, WeakKeyDictionary())
    if model not in shapes:
        shapes[model] = fit_lengths(body, segment_lengths(model))
    return shapes[model]


def fit_lengths(body: Body, lengths: dict[str, float]) -> Shape:
    """The body with these `SEGMENTS`, in m."""
    return ShapeFit(body, lengths).minimise()


def segment_lengths(model: MuscleModel) -> dict[str, float]:
    """Lengths in m of those `SEGMENTS` that the model has sites for, in its default posture."""
    sites = tuple(model.sites)
    home = Kinematics(model)(torch.from_numpy(model.mj_model.qpos0[None].copy()), jacobian=False).position[0].numpy()
    lengths = {}
    for name, (start, end, *_) in SEGMENTS.items():
        if all(part in sites for end_name in (start, end) for part in _parts(end_name)):
            lengths[name] = float(np.linalg.norm(_ends(sites, start, end) @ home))
    return lengths


def _parts(name: str) -> tuple[str, ...]:
    return (f"left_{name[:-1]}", f"right_{name[:-1]}") if name in ("hips", "shoulders") else (name,)


def _ends(points: tuple[str, ...], start: str, end: str) -> Floats:
    """Weights `(len(points),)` that sum the points to the vector from one end of a segment to the other."""
    weights = np.zeros(len(points))
    for sign, name in ((-1.0, start), (1.0, end)):
        for part in _parts(name):
            weights[points.index(part)] += sign / len(_parts(name))
    return weights
