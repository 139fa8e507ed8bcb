"""What a movement costs: the muscle activations that could produce it."""

from __future__ import annotations

from musclewarp.dynamics.excitation import excitation_for
from musclewarp.dynamics.external import ExternalForces, external_forces
from musclewarp.dynamics.inverse import Inertia, InverseDynamics, accelerations, inertia, inverse_dynamics
from musclewarp.dynamics.moment_arms import MomentArms
from musclewarp.dynamics.redundancy import Balance, Redundancy, balance, balance_to_the_end
from musclewarp.dynamics.static_optimization import (
    Criterion,
    MuscleProblems,
    StaticOptimization,
    muscle_problems,
    optimize_activations,
)
from musclewarp.dynamics.trajectory import Trajectory

__all__ = [
    "Balance",
    "Criterion",
    "ExternalForces",
    "Inertia",
    "InverseDynamics",
    "MomentArms",
    "MuscleProblems",
    "Redundancy",
    "StaticOptimization",
    "Trajectory",
    "accelerations",
    "balance",
    "balance_to_the_end",
    "excitation_for",
    "external_forces",
    "inertia",
    "inverse_dynamics",
    "muscle_problems",
    "optimize_activations",
]
