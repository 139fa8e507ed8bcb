"""MyoFullBody (416 muscles) and MyoBimanualArm (126), from the package `musclemimic-models`.

With the fingers fixed, the default here, 354 and 64 muscles remain.
"""

from __future__ import annotations

import math

import mujoco
import musclemimic_models

from musclewarp.models.model import Layout

_ARM_SITES = {
    f"{side}_{site}": f"{body}_{side[0]}"
    for side in ("left", "right")
    for site, body in (("shoulder", "humerus"), ("elbow", "ulna"), ("hand", "lunate"))
}
_LEG_SITES = {
    f"{side}_{site}": f"{body}_{side[0]}"
    for side in ("left", "right")
    for site, body in (("hip", "femur"), ("knee", "tibia"), ("ankle", "talus"), ("toes", "toes"))
}
_HANDS = ("lunate_r", "lunate_l")
_PHANTOM_INERTIA = 0.01  # kg m^2; with 1e-4 the couplings give way by 0.2 rad at 4 ms

_REST = {"shoulder_elv": 0.5, "elbow_flex": 0.5, "elv_angle": 0.5}
_T_POSE = {"shoulder_elv": math.pi / 2}
# the stiffest that track a walk and an arm clip without shaking at 50 Hz: what is light bears little damping
_ARM_GAINS = {
    **dict.fromkeys(("elv_angle", "shoulder"), (120.0, 10.0)),
    "elbow": (60.0, 5.0),
    **dict.fromkeys(("pro_sup", "deviation", "flexion"), (16.0, 1.0)),
}
_GAINS = {
    **_ARM_GAINS,
    **dict.fromkeys(("flex_extension", "lat_bending", "axial_rotation"), (800.0, 30.0)),
    "hip": (800.0, 15.0),
    "hip_rotation": (240.0, 6.0),
    "knee": (600.0, 10.0),
    "ankle": (600.0, 5.0),
    "subtalar": (120.0, 1.0),
    "mtp": (40.0, 0.6),
}

BIMANUAL = Layout(
    sites={"upper_body": "thorax", **_ARM_SITES},
    feet={},
    floor="floor",
    arena_bytes=2 << 20,
    finger_parents=_HANDS,
    rest=_REST,
    t_pose=_T_POSE,
    gains=_ARM_GAINS,
)
FULL_BODY = Layout(
    sites={"pelvis": "pelvis", "upper_body": "lumbar1", "head": "head", **_ARM_SITES, **_LEG_SITES},
    feet={"right": "calcn_r", "left": "calcn_l"},
    floor="floor",
    arena_bytes=12 << 20,
    finger_parents=_HANDS,
    rest=_REST,
    t_pose=_T_POSE,
    propped={"flexion": -0.75, "deviation": 0.0},
    gains=_GAINS,
)


def load_spec(name: str) -> mujoco.MjSpec:
    """The editable model of `name` ("bimanual", "myofullbody") from musclemimic-models, with lighter phantoms."""
    spec = mujoco.MjSpec.from_file(str(musclemimic_models.get_xml_path(name)))
    _lighten_phantoms(spec)
    return spec


def _lighten_phantoms(spec: mujoco.MjSpec) -> None:
    """Give the shoulders' phantom bodies, which only join joints, 0.01 instead of 1 kg m^2.

    They weigh a gram each; as published eight of them load the trunk with 8 kg m^2, and the lumbar rotators of a walker
    with up to 141 instead of 8 Nm. A hundredth of it is as accurate at time steps of 4 and 5 ms.
    """
    for body in spec.bodies:
        if "phant" in body.name:
            body.inertia = [_PHANTOM_INERTIA] * 3


def fix_fingers(spec: mujoco.MjSpec, layout: Layout) -> None:
    """Remove the finger joints and the muscles that move them.

    A muscle moves the fingers if its path touches a body below a finger joint; its tendon goes with it. Bodies
    stay where the model's default posture has them.
    """
    moved: set[str] = set()
    for parent in layout.finger_parents:
        below = [body for body in _descendants(spec.body(parent)) if body.joints]
        for body in below:
            moved.update(b.name for b in (body, *_descendants(body)))
    joints = [joint for name in moved for joint in spec.body(name).joints]
    sites = {site.name for name in moved for site in spec.body(name).sites}
    geoms = {geom.name for name in moved for geom in spec.body(name).geoms if geom.name}
    tendons = [t for t in spec.tendons if any(w.target.name in sites or w.target.name in geoms for w in t.path)]
    names = {tendon.name for tendon in tendons}
    for actuator in [a for a in spec.actuators if a.target in names]:
        spec.delete(actuator)
    for tendon in tendons:
        spec.delete(tendon)
    for joint in joints:
        spec.delete(joint)
    for key in list(spec.keys):
        spec.delete(key)  # their qpos is that of the model with fingers


def _descendants(body: mujoco.MjsBody) -> list[mujoco.MjsBody]:
    children = list(body.bodies)
    return children + [grandchild for child in children for grandchild in _descendants(child)]
