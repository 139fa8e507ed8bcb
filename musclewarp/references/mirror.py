"""A reference as seen in a mirror: what was done to the left is done to the right."""

from __future__ import annotations

from dataclasses import replace

import torch

from musclewarp.errors import ModelError
from musclewarp.models import MuscleModel
from musclewarp.models.mirror import Mirror, partners
from musclewarp.references.reference import Reference, make_reference


def mirror_reference(model: MuscleModel, reference: Reference) -> Reference:
    """The mirror image of `reference`, called "... mirrored".

    Raises:
        FileError: the reference is of another model.
        ModelError: the model has no left and right.
    """
    reference.check_model(model)
    mirror = Mirror.from_model(model.mj_model)
    if mirror is None:
        raise ModelError(f"'{model.name}' has no left and right")
    qpos, qvel = torch.from_numpy(reference.qpos), torch.from_numpy(reference.qvel)
    qvel = mirror.qvel(model.mj_model, qpos, qvel).numpy()
    qpos = mirror.qpos(model.mj_model, qpos).numpy()
    targets = reference.target_positions[:, partners(model.sites)]
    targets = targets - 2 * (targets @ mirror.normal)[..., None] * mirror.normal
    if not model.has_free_root:  # the plane is where the model stands
        targets += 2 * mirror.offset * mirror.normal
    name = f"{reference.name} mirrored"
    made = make_reference(model, qpos, reference.dt, name, targets, reference.quality, reference.source)
    activations = None if reference.activations is None else reference.activations[:, mirror.muscle]
    return replace(made, qvel=qvel, activations=activations, loop=reference.loop)
