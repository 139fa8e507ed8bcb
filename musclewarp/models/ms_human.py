"""MS-Human-700 (Zuo et al., ICRA 2024, "Self model for embodied intelligence"): 700 muscles, 80 bodies, from a folder.

The folder is that of MuJoCo Menagerie. Muscles, masses (60.2 kg), couplings and ranges are the published ones, also
where `musclewarp models check` finds flaws in them. Only the root is another: three slides and three hinges, which
lose a direction of turning at 90 degrees of list, are one free joint here, and the body faces -y, as the others do.
"""

from __future__ import annotations

import math

import mujoco

from musclewarp.errors import ModelError
from musclewarp.files import data_root
from musclewarp.models.model import Layout
from musclewarp.models.myo import FULL_BODY

_ROOT_JOINTS = 6
_FACING_MINUS_Y = (0.5, 0.5, -0.5, -0.5)  # of the pelvis, whose x axis is forward, and y up

MS_HUMAN_700 = Layout(
    sites={**FULL_BODY.sites, "head": "head_neck", "right_hand": "proximal_row_r", "left_hand": "proximal_row_l"},
    # the body's origin is the joint at the base of the neck; this is where the skull sits on it
    offsets={"head": (0.0216, 0.1179, 0.0)},
    feet=FULL_BODY.feet,
    floor="floor",
    arena_bytes=4 << 20,
    finger_parents=(),
    rest={"shoulder_elv": 0.5, "elbow_flexion": 0.5, "elv_angle": 0.5},
    t_pose={"shoulder_elv": math.pi / 2},
)


def load_spec(name: str) -> mujoco.MjSpec:
    """The editable model with a free root, without its keyframe, which violates the couplings by up to 1 cm.

    Raises:
        ModelError: the folder is not under the data root, or MuJoCo cannot read it.
    """
    # MuJoCo looks for a scene's includes and meshes from the working folder if its path is a relative one
    path = (data_root() / "models" / name / "scene.xml").resolve()
    if not path.is_file():
        raise ModelError(
            f"{path}: no such file; put the folder {name} of MuJoCo Menagerie "
            f"(github.com/google-deepmind/mujoco_menagerie) into {path.parents[1]}, or set MUSCLEWARP_DATA to the "
            "data root that has it in its models/"
        )
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise ModelError(f"{path}: MuJoCo cannot read it ({error}); fetch the folder again") from error
    pelvis = spec.body("pelvis")
    if pelvis is None or len(pelvis.joints) != _ROOT_JOINTS:
        raise ModelError(f"{path}: no pelvis on {_ROOT_JOINTS} joints, so not the model MS-Human-700; fetch it again")
    for key in list(spec.keys):
        spec.delete(key)
    for joint in list(pelvis.joints):
        spec.delete(joint)
    pelvis.add_freejoint(name="root")
    pelvis.quat = _FACING_MINUS_Y
    return spec
