"""Who steps the worlds."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from musclewarp.engines.engine import Engine
from musclewarp.engines.native import NativeEngine
from musclewarp.errors import ConfigError
from musclewarp.models import MuscleModel

__all__ = ["ENGINES", "Engine", "NativeEngine", "make_engine"]

ENGINES = ("auto", "native", "warp")


def make_engine(
    kind: str,
    model: MuscleModel,
    num_worlds: int,
    device: torch.device | str = "cpu",
    varied: Collection[str] = (),
    postures: np.ndarray | None = None,
) -> Engine:
    """An engine by name: "native", "warp", or "auto" (warp on a CUDA device, else native).

    `varied` names the fields of the model in which its worlds may differ, see `Engine.varied`; `postures (F, nq)` are
    those of the references that will be imitated.

    Raises:
        ConfigError: the kind is unknown, or the native engine is asked for on a GPU, or worlds cannot differ in a
            field.
    """
    device = torch.device(device)
    if kind not in ENGINES:
        raise ConfigError(f"unknown engine '{kind}'; choose one of {', '.join(ENGINES)}")
    if kind == "warp" or (kind == "auto" and device.type == "cuda"):
        from musclewarp.engines.warp import WarpEngine  # here, for Warp takes seconds to import

        return WarpEngine(model, num_worlds, device, varied=varied, postures=postures)
    if device.type != "cpu":
        raise ConfigError(f"the native engine runs on the CPU, not on {device}; use engine 'warp' or device 'cpu'")
    return NativeEngine(model, num_worlds, varied=varied)
