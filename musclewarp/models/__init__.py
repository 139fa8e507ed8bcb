"""Persons made of muscles."""

from __future__ import annotations

from musclewarp.errors import ModelError
from musclewarp.models import ms_human, myo
from musclewarp.models.couplings import Couplings
from musclewarp.models.model import MuscleModel, PhysicsConfig
from musclewarp.models.muscles import moment_arms

__all__ = [
    "MODELS",
    "Couplings",
    "MuscleModel",
    "PhysicsConfig",
    "load_model",
    "load_named",
    "model_of_rate",
    "moment_arms",
]

MODELS = {"bimanual": myo.BIMANUAL, "myofullbody": myo.FULL_BODY, "ms_human_700": ms_human.MS_HUMAN_700}


def load_model(name: str, fingers: bool = False, physics: PhysicsConfig | None = None) -> MuscleModel:
    """Build a musculoskeletal model.

    Args:
        name: "bimanual" (two arms on a fixed thorax), "myofullbody" or "ms_human_700" (from the data root).
        fingers: keep the 40 finger joints and the 62 muscles that move them.
        physics: time step and substeps.

    Raises:
        ModelError: `name` is unknown, its files are not there, or it has no fingers to keep.
    """
    if name not in MODELS:
        raise ModelError(f"unknown model '{name}'; choose one of {', '.join(MODELS)}")
    layout = MODELS[name]
    if fingers and not layout.finger_parents:
        raise ModelError(f"model '{name}' has no finger joints; load it without fingers")
    spec = (ms_human if layout is ms_human.MS_HUMAN_700 else myo).load_spec(name)
    if not fingers:
        myo.fix_fingers(spec, layout)
    return MuscleModel(name if not fingers else f"{name}_fingers", spec, layout, physics or PhysicsConfig())


def load_named(name: str, physics: PhysicsConfig | None = None) -> MuscleModel:
    """The model that files call `name`, with "_fingers" behind it where it has them."""
    return load_model(name.removesuffix("_fingers"), name.endswith("_fingers"), physics)


def model_of_rate(name: str, dt: float) -> MuscleModel:
    """The model that files call `name` (see `load_named`), stepped four times in a control step of `dt` s."""
    return load_named(name, PhysicsConfig(dt / 4, substeps=4))
