"""From people to models."""

from __future__ import annotations

from musclewarp.retarget.ik import IKConfig
from musclewarp.retarget.pipeline import retarget

__all__ = ["IKConfig", "retarget"]
