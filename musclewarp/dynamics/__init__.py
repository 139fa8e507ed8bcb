"""What a movement costs: the muscle activations that could produce it."""

from __future__ import annotations

from musclewarp.dynamics.inverse import InverseDynamics, accelerations, inverse_dynamics
from musclewarp.dynamics.static_optimization import StaticOptimization, optimize_activations

__all__ = ["InverseDynamics", "StaticOptimization", "accelerations", "inverse_dynamics", "optimize_activations"]
