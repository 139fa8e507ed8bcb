"""What the second way to act costs, and how far muscles follow it: joint targets of the full body on the CPU.

    python benchmarks/control.py --references refs/walk.ref.safetensors --out benchmarks/results/control.json

All worlds start at phases spread over the clip and follow their targets, without offsets, until they fall; then they
start again. The share is that of the control in an environment's step; the rest is physics, observations, rewards.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict

from musclewarp.engines.native import available_threads
from musclewarp.envs import ControlConfig, EnvConfig, ImitationEnv
from musclewarp.envs.control import JointTargets
from musclewarp.envs.terminations import root_deviation, site_deviation
from musclewarp.files import write_text
from musclewarp.models import PhysicsConfig, load_model
from musclewarp.references.library import ReferenceLibrary, load_library

LIMITS = {"site_deviation": 0.3, "root_deviation": 0.5}
LONGEST, EARLY = 500, 10  # control steps: of an episode, and those over which the joint error is told


class Timed(JointTargets):
    """Joint targets that know how long they took."""

    spent = 0.0

    def __call__(self, action: torch.Tensor, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """See `Control`."""
        started = time.perf_counter()
        try:
            return super().__call__(action, clip, frame)
        finally:
            self.spent += time.perf_counter() - started


def make_env(references: Path, worlds: int, iterations: int) -> ImitationEnv:
    """The full body behind the walking clips in `references`, with a control that is timed."""
    physics = PhysicsConfig(0.005, 4)
    model = load_model("myofullbody", physics=physics)
    library: ReferenceLibrary = load_library(references, model)
    control = ControlConfig(mode="joint_targets", iterations=iterations)
    config = EnvConfig("myofullbody", num_worlds=worlds, physics=physics, control=control, terminations=LIMITS)
    env = ImitationEnv(config, model=model, library=library)
    env.control = Timed(control, env.engine, library)
    return env


def cost(env: ImitationEnv, seconds: float) -> dict[str, Any]:
    """Share of a control step, and what the muscles lack."""
    still = TensorDict({"action": torch.zeros(env.action_spec.shape)}, batch_size=env.batch_size)
    control = env.control
    assert isinstance(control, Timed)
    current = env.reset()
    for _ in range(3):
        current = env.step_and_maybe_reset(current.update(still))[1]
    control.take_metrics()
    control.spent, steps, started = 0.0, 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        current = env.step_and_maybe_reset(current.update(still))[1]
        steps += 1
    whole = time.perf_counter() - started
    told = {name: float(value) for name, value in control.take_metrics().items()}
    return {"control_ms": 1e3 * control.spent / steps, "step_ms": 1e3 * whole / steps,
            "share": control.spent / whole, "steps": steps} | told  # fmt: skip


def survival(env: ImitationEnv) -> dict[str, float]:
    """How long worlds at phases spread over the first clip follow it, s, and their joint error before 0.2 s, rad."""
    worlds = env.batch_size[0]
    frames = torch.linspace(0, float(env.library.lengths[0]) - 2, worlds).long()
    env.reset_to(torch.zeros_like(frames), frames)
    still = TensorDict({"action": torch.zeros(env.action_spec.shape)}, batch_size=env.batch_size)
    alive, lived, errors = torch.ones(worlds, dtype=torch.bool), torch.zeros(worlds), []
    for step in range(LONGEST):
        env.step(still)
        state, target = env.state, env.target
        if step < EARLY:
            errors.append((state.joint_pos - target.now.joint_pos).square().mean().sqrt())
        alive &= site_deviation(state, target) <= LIMITS["site_deviation"]
        alive &= root_deviation(state, target) <= LIMITS["root_deviation"]
        lived += alive * env.library.dt
        if not alive.any():
            break
    return {"survival_s": float(lived.mean()), "longest_s": float(lived.max()),
            "joint_rms_rad": float(torch.stack(errors).mean())}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, required=True)
    parser.add_argument("--worlds", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=ControlConfig.iterations)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    env = make_env(options.references, options.worlds, options.iterations)
    row = {"worlds": options.worlds, "threads": available_threads(), "iterations": options.iterations,
           "clips": list(env.library.names), **cost(env, options.seconds), **survival(env)}  # fmt: skip
    text = json.dumps(row, indent=2) + "\n"
    print(text, end="")
    if options.out is not None:
        write_text(options.out, text)


if __name__ == "__main__":
    main()
