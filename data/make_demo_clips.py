"""Make the demo clips of `data/motions/demo`: an arms clip and a whole-body clip, in AMASS's SMPL-H layout.

    python data/make_demo_clips.py [--out FOLDER]

Both are sums of sines under a smooth envelope, so they start and end at rest, are the same on every run, and belong
to nobody. The script poses the stand-in body by them and refuses to write a clip that is not what it is meant to be.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musclewarp.motion import rotations
from musclewarp.motion.amass import write_amass
from musclewarp.motion.body import JointTrajectory, load_body
from musclewarp.motion.motion import SMPL_JOINTS, Motion
from musclewarp.motion.stand_in import STATURE, rest_joints

Floats = NDArray[np.float64]
FPS = 60.0
JOINT = {name: index for index, name in enumerate(SMPL_JOINTS)}
UPRIGHT = rotations.from_rotvec([np.pi / 2, 0.0, 0.0])  # SMPL's y up to the world's z up; it faces -y
SIDES = ("left", "right")


def envelope(time: Floats, ramp: float = 0.8) -> Floats:
    """From 0 to 1 and back, with no velocity or acceleration at either end of the ramps (minimum jerk)."""
    x = np.clip(np.minimum(time, time[-1] - time) / ramp, 0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x**2)


def wave(time: Floats, *terms: tuple[float, float, float]) -> Floats:
    """Sum of `amplitude * sin(2 pi (frequency * time + phase))` for (amplitude, frequency Hz, phase in turns)."""
    return sum((a * np.sin(2 * np.pi * (f * time + p)) for a, f, p in terms), start=np.zeros_like(time))


def about(axis: str, angle: Floats) -> Floats:
    """Quaternions about a local axis, angles in degrees."""
    return rotations.from_rotvec(np.deg2rad(angle)[..., None] * np.eye(3)["xyz".index(axis)])


def pose_arm(
    local: Floats, side: str, elevation: Floats, plane: Floats, axial: Floats, elbow: Floats, pronation: Floats
) -> None:
    """Write the rotations of one arm from angles in degrees.

    Elevation of the upper arm from hanging; its plane (0 sideways, 90 forwards); outward turning about its own axis;
    elbow flexion; pronation from the thumb pointing forwards.
    """
    # On the left: hanging is the T-pose turned by -90 about z, with the elbow bending forwards.
    e, p = np.deg2rad(elevation), np.deg2rad(plane)
    raising = rotations.from_rotvec(e[:, None] * np.stack([-np.sin(p), np.zeros_like(p), np.cos(p)], axis=-1))
    hanging = about("z", np.full_like(e, -90.0))
    shoulder = rotations.multiply(rotations.multiply(raising, hanging), about("x", axial))
    mirror = np.array([1.0, 1.0, 1.0, 1.0] if side == "left" else [1.0, 1.0, -1.0, -1.0])  # in the plane x = 0
    local[:, JOINT[f"{side}_shoulder"]] = shoulder * mirror
    local[:, JOINT[f"{side}_elbow"]] = about("y", -elbow) * mirror
    local[:, JOINT[f"{side}_wrist"]] = about("x", pronation) * mirror


def arms_clip() -> Motion:
    """8 s of both arms: reaching, circling and bending at several frequencies, never the same left and right."""
    time = np.arange(481) / FPS
    w = envelope(time)
    local = np.tile(rotations.IDENTITY, (len(time), 24, 1))
    local[:, 0] = UPRIGHT
    pose_arm(
        local,
        "left",
        elevation=50 + w * wave(time, (28, 0.7, 0.55), (4, 1.0, 0.05)),
        plane=52 + w * wave(time, (25, 0.7, 0.7), (6, 0.25, 0.75)),
        axial=w * wave(time, (12, 0.375, 0.2)),
        elbow=65 + w * wave(time, (26, 0.5, 0.1), (5, 1.25, 0.85)),
        pronation=20 + w * wave(time, (15, 0.375, 0.5)),
    )
    pose_arm(
        local,
        "right",
        elevation=50 + w * wave(time, (27, 0.75, 0.15), (4, 1.0, 0.85)),
        plane=52 + w * wave(time, (28, 0.75, 0.45), (6, 0.25, 0.25)),
        axial=w * wave(time, (12, 0.375, 0.6)),
        elbow=65 + w * wave(time, (26, 0.55, 0.7), (5, 1.25, 0.25)),
        pronation=20 + w * wave(time, (15, 0.5, 0.2)),
    )
    pelvis = [0.0, 0.0, 0.570 * STATURE["neutral"]]
    return Motion("arms", local, np.tile(pelvis, (len(time), 1)), FPS, source={"made by": Path(__file__).name})


def whole_body_clip() -> Motion:
    """6 s: the weight shifts from foot to foot, with shallow squats and swinging arms; the feet stay where they are."""
    time = np.arange(361) / FPS
    w = envelope(time)
    local = np.tile(rotations.IDENTITY, (len(time), 24, 1))
    squat = w * (1 - np.cos(2 * np.pi * 0.5 * time)) / 2  # 0 to 1
    local[:, 0] = rotations.multiply(UPRIGHT, about("x", 10 * squat))
    for name in ("spine1", "spine2", "spine3"):
        bend = rotations.multiply(about("x", 3 * squat), about("z", w * wave(time, (1.5, 1 / 3, 0.0))))
        local[:, JOINT[name]] = rotations.multiply(bend, about("y", w * wave(time, (2.5, 0.5, 0.25))))
    local[:, JOINT["neck"]] = about("x", -10 * squat)
    for side, phase in zip(SIDES, (0.0, 0.5)):
        pose_arm(
            local,
            side,
            elevation=14 + 18 * squat + w * wave(time, (9, 0.5, phase), (3, 1.0, phase)),
            plane=70 + w * wave(time, (8, 0.5, phase + 0.2)),
            axial=np.zeros_like(time),
            elbow=28 + 14 * squat + w * wave(time, (7, 0.5, phase + 0.1)),
            pronation=np.full_like(time, 10.0),
        )
    height = 0.570 * STATURE["neutral"] - 0.015 - 0.09 * squat
    sideways = w * wave(time, (0.045, 1 / 3, 0.0))
    pelvis = np.stack([sideways, 0.02 * squat, height], axis=-1)
    plant_feet(local, pelvis)
    return Motion("whole_body", local, pelvis, FPS, source={"made by": Path(__file__).name})


def plant_feet(local: Floats, pelvis: Floats) -> None:
    """Write hips, knees and ankles such that the feet stay flat where the rest pose, standing at the origin, has them.

    Legs of two segments: the knee from the law of cosines, the hip from where the ankle is; the ankle undoes both.
    """
    rest = rest_joints("neutral")
    stand = np.array([0.0, 0.0, 0.570 * STATURE["neutral"]])
    for side in SIDES:
        hip, knee, ankle = (rest[JOINT[f"{side}_{name}"]] for name in ("hip", "knee", "ankle"))
        thigh, shank = hip[1] - knee[1], knee[1] - ankle[1]
        target = stand + rotations.rotate(UPRIGHT, ankle) - pelvis
        leg = rotations.rotate(rotations.conjugate(local[:, 0]), target) - hip
        length = np.linalg.norm(leg, axis=-1)
        flexion = np.arccos((length**2 - thigh**2 - shank**2) / (2 * thigh * shank))
        abduction = np.arctan2(leg[:, 0], -leg[:, 1])
        lean = np.arcsin(leg[:, 2] / length) + np.arctan2(shank * np.sin(flexion), thigh + shank * np.cos(flexion))
        hip_turn = rotations.multiply(about("z", np.rad2deg(abduction)), about("x", -np.rad2deg(lean)))
        knee_turn = about("x", np.rad2deg(flexion))
        shin = rotations.multiply(local[:, 0], rotations.multiply(hip_turn, knee_turn))
        local[:, JOINT[f"{side}_hip"]] = hip_turn
        local[:, JOINT[f"{side}_knee"]] = knee_turn
        local[:, JOINT[f"{side}_ankle"]] = rotations.multiply(rotations.conjugate(shin), UPRIGHT)


def speeds(positions: Floats) -> Floats:
    """Central-difference speeds `(T - 2, ...)` m/s of points `(T, ..., 3)`."""
    return np.linalg.norm(positions[2:] - positions[:-2], axis=-1) * FPS / 2


def angle_between(first: Floats, second: Floats) -> Floats:
    """Degrees between vectors `(..., 3)`."""
    cosine = np.sum(first * second, axis=-1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)
    return np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0)))


def points_of_arm(body: JointTrajectory, side: str) -> Floats:
    """Ten points `(T, 10, 3)` from the elbow over the wrist to the finger tips."""
    elbow, wrist, hand = (body.positions[:, JOINT[f"{side}_{name}"]] for name in ("elbow", "wrist", "hand"))
    tip = 2 * hand - wrist
    joined = [elbow + x * (wrist - elbow) for x in np.linspace(0, 1, 5)]
    return np.stack(joined + [wrist + x * (tip - wrist) for x in np.linspace(0.2, 1, 5)], axis=1)


def measure_arms(body: JointTrajectory) -> dict[str, float]:
    """What the arms do, by side, in m, m/s, m/s2 and degrees."""
    at = {name: body.positions[:, index] for name, index in JOINT.items()}
    found: dict[str, float] = {}
    for side in SIDES:
        shoulder, elbow, wrist = (at[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        flexion = angle_between(elbow - shoulder, wrist - elbow)
        elevation = angle_between(elbow - shoulder, np.array([0.0, 0.0, -1.0]))
        acceleration = np.diff(at[f"{side}_hand"], 2, axis=0) * FPS**2
        trunk = points_of_arm(body, side)[..., :2] - at["spine2"][:, None, :2]
        found |= {
            f"{side} wrist path": float(np.linalg.norm(np.diff(wrist, axis=0), axis=-1).sum()),
            f"{side} wrist peak speed": float(speeds(wrist).max()),
            f"{side} hand peak acceleration": float(np.linalg.norm(acceleration, axis=-1).max()),
            f"{side} elbow flexion least": float(flexion.min()),
            f"{side} elbow flexion most": float(flexion.max()),
            f"{side} elevation least": float(elevation.min()),
            f"{side} elevation most": float(elevation.max()),
            f"{side} trunk distance": float(np.linalg.norm(trunk, axis=-1).min()),
        }
    pairs = product(*(np.moveaxis(points_of_arm(body, side), 1, 0) for side in SIDES))
    return found | {"arms apart": float(min(np.linalg.norm(a - b, axis=-1).min() for a, b in pairs))}


ARMS_LIMITS = {
    "wrist path": (6.0, 9.0),
    "wrist peak speed": (1.0, 1.8),
    "hand peak acceleration": (0.0, 12.0),
    "elbow flexion least": (10.0, 120.0),
    "elbow flexion most": (10.0, 120.0),
    "elevation least": (10.0, 100.0),
    "elevation most": (10.0, 100.0),
    "trunk distance": (0.20, np.inf),
    "arms apart": (0.12, np.inf),
}


def check_arms(motion: Motion) -> dict[str, float]:
    """Measure the arms clip.

    Raises:
        ValueError: a measure is outside `ARMS_LIMITS`, or something but the arms moves.
    """
    body = load_body(kind="stand-in").joints(motion)
    found = measure_arms(body)
    for name, value in found.items():
        low, high = ARMS_LIMITS[name.removeprefix("left ").removeprefix("right ")]
        if not low <= value <= high:
            raise ValueError(f"arms: {name} is {value:.3f}, meant to be {low} to {high}")
    still = [index for name, index in JOINT.items() if not name.endswith(("elbow", "wrist", "hand"))]
    if np.ptp(body.positions[:, still], axis=0).max() > 1e-9:
        raise ValueError("arms: something but the arms moves")
    return found


def check_whole_body(motion: Motion) -> dict[str, float]:
    """Measure the whole-body clip.

    Raises:
        ValueError: a foot slides, or a joint is faster than gentle.
    """
    body = load_body(kind="stand-in").joints(motion)
    feet = [index for name, index in JOINT.items() if name.endswith(("ankle", "foot"))]
    found = {
        "feet slide": float(np.ptp(body.positions[:, feet], axis=0).max()),
        "peak joint speed": float(speeds(body.positions).max()),
        "pelvis lowest": float(body.positions[:, 0, 2].min()),
        "pelvis highest": float(body.positions[:, 0, 2].max()),
    }
    if found["feet slide"] > 1e-6:
        raise ValueError(f"whole body: the feet slide by {found['feet slide']} m")
    if found["peak joint speed"] > 1.2:
        raise ValueError(f"whole body: a joint reaches {found['peak joint speed']} m/s")
    return found


def main() -> None:
    """Make, check and write both clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "motions" / "demo")
    out = parser.parse_args().out
    for motion, check in ((arms_clip(), check_arms), (whole_body_clip(), check_whole_body)):
        found = check(motion)
        path = write_amass(out / f"{motion.name}.npz", motion)
        print(f"{path.name}: {motion.duration:g} s, {motion.num_frames} frames")
        print("".join(f"  {name}: {value:.3g}\n" for name, value in found.items()), end="")


if __name__ == "__main__":
    main()
