"""A reference as seen in a mirror: what was done to the left is done to the right."""

from __future__ import annotations

from dataclasses import replace

import torch

from musclewarp.errors import ModelError
from musclewarp.models import MuscleModel
from musclewarp.models.mirror import Mirror, partners
from musclewarp.references.reference import Reference, make_reference

_OF_THE_FILE = ("place", "settings", "sha256")


def mirror_reference(model: MuscleModel, reference: Reference) -> Reference:
    """The mirror image of `reference`, called "... mirrored", without a quality.

    Its source says whether it is `mirrored`, and no longer by which file and settings `musclewarp retarget` knows it.

    Raises:
        FileError: the reference is of another model.
        ModelError: the model has no left and right, or something on one side only.
    """
    reference.check_model(model)
    mirror = Mirror.from_model(model.mj_model)
    if mirror is None:
        raise ModelError(f"'{model.name}' has no left and right")
    sites, joints = partners(model.sites), model.mj_model.dof_jntid[model.joint_dofs]
    if min(sites.min(), mirror.muscle.min()) < 0 or not mirror.joint_sign[joints].all():
        raise ModelError(
            f"'{model.name}' has muscles, joints or sites without a mirror image on the other side: "
            "`musclewarp models check`"
        )
    qpos, qvel = torch.from_numpy(reference.qpos), torch.from_numpy(reference.qvel)
    qvel = mirror.qvel(model.mj_model, qpos, qvel).numpy()
    qpos = mirror.qpos(model.mj_model, qpos).numpy()
    targets = reference.target_positions[:, sites]
    targets = targets - 2 * (targets @ mirror.normal)[..., None] * mirror.normal
    if not model.has_free_root:  # the plane is where the model stands
        targets += 2 * mirror.offset * mirror.normal
    name = f"{reference.name} mirrored"
    source = {key: value for key, value in reference.source.items() if key not in _OF_THE_FILE}
    source["mirrored"] = not source.get("mirrored", False)
    made = make_reference(model, qpos, reference.dt, name, targets, source=source)
    activations = None if reference.activations is None else reference.activations[:, mirror.muscle]
    return replace(made, qvel=qvel, activations=activations, loop=reference.loop)
