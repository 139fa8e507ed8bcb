"""`musclewarp bench`: what the framework costs on top of the simulator, measured in one process.

"Bare" is the simulator's plain stepping, `mujoco.batch.Batch` with its defaults, of the same model, options, substeps,
worlds and threads. Slices of bare stepping, of the engine and of the environment take turns, so that what else the
machine does falls on all of them alike.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from mujoco.batch import Batch

from musclewarp.engines.native import NativeEngine, available_threads
from musclewarp.envs import EnvConfig, ImitationEnv
from musclewarp.errors import ConfigError
from musclewarp.learning.ppo import PPO, PPOConfig
from musclewarp.models import MuscleModel, PhysicsConfig, load_model
from musclewarp.motion.amass import read_amass
from musclewarp.references.library import ReferenceLibrary
from musclewarp.references.reference import SUFFIX, Reference
from musclewarp.retarget import retarget

_CLIPS = Path(__file__).resolve().parents[1] / "data" / "motions" / "demo"
_CASES = {"bimanual": ("arms.npz", PhysicsConfig(0.004, 5)), "myofullbody": ("whole_body.npz", PhysicsConfig(0.005, 4))}
_SLICE = 10  # control steps in a row of one kind


def bench_env(model_name: str, worlds: int, seconds: float) -> dict[str, Any]:
    """Environment frames/s over bare stepping, and the share of training outside physics and networks.

    Args:
        model_name: "bimanual" or "myofullbody".
        worlds: N.
        seconds: wall time for the comparison, and again for training.
    """
    if model_name not in _CASES:
        raise ConfigError(f"there is no case for model '{model_name}'; choose one of {', '.join(sorted(_CASES))}")
    clip, physics = _CASES[model_name]
    model = load_model(model_name, physics=physics)
    reference = retarget(read_amass(_CLIPS / clip), model)
    env = ImitationEnv(EnvConfig(model=model_name, physics=physics), model=model, worlds=worlds,
                       library=ReferenceLibrary([reference], model))  # fmt: skip
    assert isinstance(env.engine, NativeEngine)
    rates = _compare(env, seconds)
    steps = physics.substeps
    return {
        "model": model_name,
        "engine": "native",
        "worlds": worlds,
        "threads": available_threads(),
        "dt": physics.timestep,
        "substeps": steps,
        "bare_control_steps_per_s": rates["bare"],
        "engine_control_steps_per_s": rates["engine"],
        "env_control_steps_per_s": rates["env"],
        "env_physics_steps_per_s": rates["env"] * steps,
        "env_simulated_seconds_per_s": rates["env"] * physics.control_dt,
        "engine_over_bare": rates["engine_ratio"],
        "env_over_bare": rates["env_ratio"],
        "training": _train_shares(model, reference, worlds, seconds),
        "quarantined": int(env.quarantine.count),
        "versions": {name: version(name) for name in ("musclewarp", "mujoco", "torch", "torchrl")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def _compare(env: ImitationEnv, seconds: float) -> dict[str, float]:
    """Control steps per second over all worlds; ratios are medians over neighbouring slices."""
    model, worlds = env.model, env.batch_size[0]
    batch = Batch(model.mj_model, worlds, available_threads())
    batch.reset()
    # the same excitations and about the same states everywhere: learners start from small ones
    excitations = torch.from_numpy(np.random.default_rng(0).uniform(0, 0.25, (64, worlds, model.mj_model.nu))).float()
    ctrl, state = batch.bind("ctrl"), batch.bind("qpos")
    current = env.reset()

    def bare(k: int) -> None:
        ctrl[:] = excitations[k % 64].numpy()
        batch.step(nstep=model.physics.substeps)

    def engine(k: int) -> None:
        env.engine.ctrl.copy_(excitations[k % 64])
        env.engine.step()

    def environment(k: int) -> None:
        nonlocal current
        current["action"] = excitations[k % 64]
        current = env.step_and_maybe_reset(current)[1]

    kinds: dict[str, Callable[[int], None]] = {"bare": bare, "env": environment, "engine": engine}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["engine"]) < 3:
        # from the same states, so that contacts and wraps cost the same
        snapshot = env.snapshot()
        state[:] = snapshot["qpos"].numpy()
        batch.bind("qvel")[:] = snapshot["qvel"].numpy()
        batch.bind("act")[:] = snapshot["act"].numpy()
        batch.bind("qacc_warmstart")[:] = snapshot["qacc_warmstart"].numpy()
        for kind, step in kinds.items():
            if kind == "engine":
                env.restore(snapshot)
            started = time.perf_counter()
            for k in range(_SLICE):
                step(k)
            times[kind].append(time.perf_counter() - started)
        env.restore(snapshot | {"draws": snapshot["draws"] + 1})
        current = env.reset() if len(times["env"]) % 8 == 0 else env.current()
    rates = {kind: worlds * _SLICE / statistics.median(values) for kind, values in times.items()}
    for kind in ("engine", "env"):
        rates[f"{kind}_ratio"] = statistics.median(b / x for b, x in zip(times["bare"], times[kind], strict=True))
    return rates


def _train_shares(model: MuscleModel, reference: Reference, worlds: int, seconds: float) -> dict[str, float]:
    """Where the time of training goes: physics, network arithmetic (forward, backward, optimiser), all else."""
    with tempfile.TemporaryDirectory() as folder:
        reference.save(Path(folder) / f"bench{SUFFIX}")
        module = PPO(EnvConfig(model=model.name, references=folder, physics=model.physics, num_worlds=worlds),
                     PPOConfig(total_frames=10**9))  # fmt: skip
        clock = _Clock(module, seconds)
        lightning.Trainer(max_epochs=1, accelerator="cpu", callbacks=[clock], **_QUIET_TRAINER).fit(module)
    total = clock.total
    return {
        "frames_per_s": clock.frames / total,
        "physics_share": clock.spent["physics"] / total,
        "network_share": clock.spent["network"] / total,
        "other_share": 1 - (clock.spent["physics"] + clock.spent["network"]) / total,
    }


_QUIET_TRAINER: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class _Clock(lightning.Callback):
    """Times the calls of physics and networks during training, after one update to warm up."""

    def __init__(self, module: PPO, seconds: float) -> None:
        self.module, self.seconds = module, seconds
        self.spent = {"physics": 0.0, "network": 0.0}
        self.total = self.frames = 0.0

    @contextmanager
    def _timed(self, what: str) -> Generator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent[what] += time.perf_counter() - started

    def _wrap(self, owner: Any, name: str, what: str) -> None:
        plain = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._timed(what):
                return plain(*args, **kwargs)

        setattr(owner, name, timed)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        if self.module.updates == 1:
            engine, head = self.module.env.engine, self.module.head
            self._wrap(engine, "step", "physics")
            self._wrap(engine, "reset", "physics")
            self._wrap(head.network, "forward", "network")
            self._wrap(self.module.critic.module.network, "forward", "network")
            self._wrap(self.module, "manual_backward", "network")
            self._wrap(trainer.optimizers[0], "step", "network")
            self._start, self._first = time.perf_counter(), self.module.frames
        elif time.perf_counter() - self._start > self.seconds:
            self.total = time.perf_counter() - self._start
            self.frames = self.module.frames - self._first
            self.module.config = PPOConfig(total_frames=1)  # the rollouts end


def print_bench(result: dict[str, Any], path: Path | None) -> None:
    """As JSON to `path` ("-": the terminal), else as lines to read."""
    if path is not None:
        text = json.dumps(result, indent=2) + "\n"
        if str(path) == "-":
            sys.stdout.write(text)
        else:
            path.write_text(text)
        return
    for key, value in result.items():
        print(f"{key:32} {value:,.3f}" if isinstance(value, float) else f"{key:32} {value}")
