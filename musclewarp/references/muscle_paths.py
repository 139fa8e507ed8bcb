"""What the paths of muscles do along a movement: tendons that jump, wraps that flip sides, lengths out of range.

A tendon that wraps around a bone takes the shorter way; where both ways are equally long, its direction of pull, or
with other obstacles its length, changes at once. No muscle can follow that, so references should keep away from there.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import pandas as pd
import scipy.signal
from numpy.typing import NDArray

from musclewarp.models import MuscleModel
from musclewarp.models.excursion import place_tendons

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
JUMP_FACTOR, JUMP_LEAST, EMA_WEIGHT = 10.0, 1e-3, 0.01
BREAK = 1e-3  # of a tendon's length at qpos0


@dataclass(frozen=True, eq=False)
class MusclePaths:
    """What happens in T frames to K tendons, of which M muscles pull; see `muscle_paths`.

    Attributes:
        tendons: name of the muscle of each tendon, or of the tendon where it has none (a ligament).
        change: `(T - 1, K)`, |dL| / L0 from each frame to the next, L0 being the length at qpos0.
        jumps: `(T - 1, K)`, by the published definition (`find_jumps`).
        unseeded_jumps: `(T - 1, K)`, by the same with an average that does not trust its first value.
        breaks: `(T - 1, K)`, where the length changes otherwise than the moment arms say.
        muscles: name of each muscle.
        outside: `(T, M)`, by how much the muscle-tendon length is out of the muscle's `lengthrange`, in m.
    """

    tendons: tuple[str, ...]
    change: Floats
    jumps: Bools
    unseeded_jumps: Bools
    breaks: Bools
    muscles: tuple[str, ...]
    outside: Floats

    def figures(self) -> dict[str, float]:
        """Quality numbers.

        - `tendon_jump_fraction`: share of frames in which any tendon jumps (`find_jumps`);
        - `tendon_jump_fraction_unseeded`: the same with an average that does not trust its first value;
        - `tendon_break_fraction`: share of frames with a tendon whose length changes unlike its moment arms;
        - `length_range_fraction`: share of (frame, muscle) pairs out of the muscle's length range.
        """
        return {
            "tendon_jump_fraction": float(self.jumps.any(axis=1).mean()),
            "tendon_jump_fraction_unseeded": float(self.unseeded_jumps.any(axis=1).mean()),
            "tendon_break_fraction": float(self.breaks.any(axis=1).mean()),
            "length_range_fraction": float((self.outside > 0).mean()),
        }

    def events(self) -> pd.DataFrame:
        """One row per jump or break: `muscle`, `frame` (after it), `kind` ("jump", "break"), `change` (of L0)."""
        rows = [
            (self.tendons[tendon], frame + 1, kind, self.change[frame, tendon])
            for kind, where in (("jump", self.jumps), ("break", self.breaks))
            for frame, tendon in np.argwhere(where)
        ]
        return pd.DataFrame(rows, columns=["muscle", "frame", "kind", "change"])

    def out_of_range(self) -> pd.DataFrame:
        """One row per muscle that leaves its length range: `fraction` of frames, `first_frame`, `worst_m`."""
        out = self.outside > 0
        some = out.any(axis=0)
        return pd.DataFrame(
            {
                "fraction": out.mean(axis=0)[some],
                "first_frame": out.argmax(axis=0)[some],
                "worst_m": self.outside.max(axis=0)[some],
            },
            index=pd.Index(np.array(self.muscles)[some], name="muscle"),
        ).sort_values("worst_m", ascending=False)


def muscle_paths(model: MuscleModel, qpos: Floats) -> MusclePaths:
    """Follow all tendons and muscles of `model` along `qpos (T, nq)`.

    A break is a step in which |dL - R dq| exceeds 1e-3 L0, both with R the mean of the moment arms before and after it
    and by Simpson's rule. (With those of one end, the mere curvature of paths exceeds it in most steps of a jogger.)
    """
    m = model.stepped
    step = _joint_steps(m, qpos)
    length, ahead, behind = _follow(m, qpos, step)
    rest = np.maximum(m.tendon_length0, 1e-6)
    difference = np.diff(length, axis=0)
    breaks = np.abs(difference - (ahead[:-1] + behind[1:]) / 2) > BREAK * rest
    bent = np.flatnonzero(breaks.any(axis=1))
    between = (qpos[bent] + qpos[bent + 1]) / 2  # of a quaternion, too: tendons do not feel how the root is turned
    simpson = (ahead[bent] + 4.0 * _follow(m, between, step[bent])[1] + behind[bent + 1]) / 6.0
    breaks[bent] &= np.abs(difference[bent] - simpson) > BREAK * rest
    driven = m.actuator_trntype == mujoco.mjtTrn.mjTRN_TENDON
    muscle_of = dict(zip(m.actuator_trnid[driven, 0].tolist(), np.flatnonzero(driven).tolist(), strict=True))
    pulled = [m.actuator(muscle_of[k]).name if k in muscle_of else m.tendon(k).name for k in range(m.ntendon)]
    muscles = length[:, m.actuator_trnid[driven, 0]] * m.actuator_gear[driven, 0]
    low, high = m.actuator_lengthrange[driven].T
    change = np.abs(difference) / rest
    return MusclePaths(
        tendons=tuple(pulled),
        change=change,
        jumps=find_jumps(change),
        unseeded_jumps=find_jumps(change, seeded=False),
        breaks=breaks,
        muscles=tuple(m.actuator(int(i)).name for i in np.flatnonzero(driven)),
        outside=np.maximum(0.0, np.maximum(low - muscles, muscles - high)),
    )


def find_jumps(change: Floats, seeded: bool = True) -> Bools:
    """Where the relative change `(T - 1, K)` of a tendon exceeds max(10 EMA, 1e-3), the published definition.

    EMA is the exponential moving average of the change itself, with weight 0.01, up to and including the present one.
    As published, it starts from the first change: a tendon that happens to rest in the first frame is then said to
    jump for a dozen frames, however smoothly it moves off. Not `seeded`, it is the weighted mean of the changes so far.
    """
    if not len(change):
        return np.zeros(change.shape, bool)
    memory = 1.0 - EMA_WEIGHT
    start = memory * change[:1] if seeded else np.zeros_like(change[:1])
    average, _ = scipy.signal.lfilter([EMA_WEIGHT], [1.0, -memory], change, axis=0, zi=start)
    if not seeded:
        average = average / (1.0 - memory ** np.arange(1, len(change) + 1))[:, None]
    return change > np.maximum(JUMP_FACTOR * average, JUMP_LEAST)


def _joint_steps(m: mujoco.MjModel, qpos: Floats) -> Floats:
    """From each posture to the next, `(T - 1, nv)`, of hinges and slides: tendons do not feel where the root is."""
    scalar = m.jnt_type != mujoco.mjtJoint.mjJNT_FREE
    step = np.zeros((len(qpos) - 1, m.nv))
    step[:, m.jnt_dofadr[scalar]] = np.diff(qpos[:, m.jnt_qposadr[scalar]], axis=0)
    return step


def _follow(m: mujoco.MjModel, qpos: Floats, step: Floats) -> tuple[Floats, Floats, Floats]:
    """Lengths `(T, K)` of all tendons, and R dq of the step after and before each posture, zero where there is none."""
    data = mujoco.MjData(m)
    length, ahead, behind = (np.zeros((len(qpos), m.ntendon)) for _ in range(3))
    arms = np.zeros((m.ntendon, m.nv))
    for t, posture in enumerate(qpos):
        place_tendons(m, data, posture)
        mujoco.mju_sparse2dense(arms, data.ten_J, m.ten_J_rownnz, m.ten_J_rowadr, m.ten_J_colind)
        length[t] = data.ten_length
        if t < len(step):
            ahead[t] = arms @ step[t]
        if t > 0:
            behind[t] = arms @ step[t - 1]
    return length, ahead, behind
