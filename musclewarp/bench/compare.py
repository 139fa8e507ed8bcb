"""Bare stepping, the engine and the environment, compared.

Slices of each take turns, so that what else the machine does falls on all of them alike; ratios are medians over
neighbouring slices.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from musclewarp.bench.bare import make_bare
from musclewarp.bench.training import training_shares
from musclewarp.engines.native import available_threads
from musclewarp.envs import EnvConfig, ImitationEnv
from musclewarp.errors import ConfigError
from musclewarp.models import MuscleModel, PhysicsConfig, load_model
from musclewarp.motion.amass import read_amass
from musclewarp.references.library import ReferenceLibrary
from musclewarp.references.reference import Reference
from musclewarp.retarget import retarget

_CLIP_FOLDER = Path(__file__).resolve().parents[2] / "data" / "motions" / "demo"
CLIPS = {"bimanual": "arms.npz", "myofullbody": "whole_body.npz"}
KINDS = ("engine", "env")
VERSIONS = ("musclewarp", "mujoco", "mujoco-warp", "warp-lang", "torch", "torchrl")
_SLICE = 10  # control steps in a row of one kind


@dataclass(frozen=True)
class BenchCase:
    """What to measure.

    Attributes:
        kind: "engine" or "env": what is compared with bare stepping.
        model: "bimanual" or "myofullbody".
        worlds: N.
        fingers: with the fingers' joints and muscles.
        engine: "auto", "native" or "warp".
        device: "cpu" or "cuda".
        physics: time step and substeps.
        seconds: of measuring.
        training: measure the shares of a training iteration too.
    """

    kind: str
    model: str = "bimanual"
    worlds: int = 64
    fingers: bool = False
    engine: str = "auto"
    device: str = "cpu"
    physics: PhysicsConfig = PhysicsConfig(0.005, 4)  # noqa: RUF009 (frozen)
    seconds: float = 20.0
    training: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"there is no benchmark of '{self.kind}'; choose one of {', '.join(KINDS)}")
        if self.model not in CLIPS:
            raise ConfigError(f"there is no case for model '{self.model}'; choose one of {', '.join(sorted(CLIPS))}")


def bench_rows(
    kind: str, models: Sequence[str], worlds: Sequence[int], timestep: float, substeps: int, **options: Any
) -> list[dict[str, Any]]:
    """A row for each model and number of worlds; `options` are those of `BenchCase`."""
    physics = PhysicsConfig(timestep, substeps)
    cases = [BenchCase(kind, model, count, physics=physics, **options) for model in models for count in worlds]
    return [bench(case) for case in track(cases, "measuring", console=Console(stderr=True), transient=True)]


def bench(case: BenchCase) -> dict[str, Any]:
    """One row; a step is one control step of one world, `ratio` that of `case.kind` over bare stepping."""
    started = time.perf_counter()
    model = load_model(case.model, case.fingers, case.physics)
    reference = bench_reference(model)
    config = EnvConfig(
        model=case.model, fingers=case.fingers, engine=case.engine, num_worlds=case.worlds, physics=case.physics
    )
    device = torch.device(case.device)
    library = ReferenceLibrary([reference], model, device)
    env = ImitationEnv(config, device, model=model, library=library)
    rates = _compare(env, case.seconds, time.perf_counter() - started)
    dt, substeps = case.physics.timestep, case.physics.substeps
    row = {
        "case": case.kind,
        "model": model.name,
        "muscles": model.mj_model.nu,
        "engine": env.engine.name,
        "device": device_name(device),
        "worlds": case.worlds,
        "steps_per_s": rates[case.kind],
        "bare_steps_per_s": rates["bare"],
        "ratio": rates[f"{case.kind}_ratio"],
        "env_over_engine": rates["env_ratio"] / rates["engine_ratio"],
        "dt": dt,
        "substeps": substeps,
        "physics_steps_per_s": rates[case.kind] * substeps,
        "simulated_seconds_per_s": rates[case.kind] * dt * substeps,
        "ready_s": rates["ready_s"],
        "memory_gb": memory_gb(device),
        "faults": env.engine.fault_counts(),
        "quarantined": int(env.quarantine.count),
        "threads": available_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in VERSIONS},
    }
    if case.training:
        row["training"] = training_shares(reference, config, case.seconds, device=case.device)
    return row


def bench_reference(model: MuscleModel) -> Reference:
    """The bundled clip that benchmarks of `model` follow."""
    return retarget(read_amass(_CLIP_FOLDER / CLIPS[model.name.removesuffix("_fingers")]), model)


def device_name(device: torch.device) -> str:
    """Of the GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def memory_gb(device: torch.device) -> float:
    """GB in use on the GPU; on the CPU, of this process at its peak."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return (total - free) / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _compare(env: ImitationEnv, seconds: float, ready: float) -> dict[str, float]:
    """Control steps per second over all worlds, and the ratios to bare stepping."""
    bare, worlds, device = make_bare(env.engine), env.batch_size[0], env.device
    # the same excitations and about the same states everywhere: learners start from small ones
    generator = torch.Generator().manual_seed(0)
    excitations = 0.25 * torch.rand(64, worlds, env.model.mj_model.nu, generator=generator).to(device)
    current = env.reset()

    def engine(k: int) -> None:
        env.engine.ctrl.copy_(excitations[k % 64])
        env.engine.step()

    def environment(k: int) -> None:
        nonlocal current
        current["action"] = excitations[k % 64]
        current = env.step_and_maybe_reset(current)[1]

    kinds: dict[str, Callable[[int], None]] = {
        "bare": lambda k: bare.step(excitations[k % 64]),
        "env": environment,
        "engine": engine,
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    environment(0)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds or len(times["engine"]) < 3:
        # from the same states, so that contacts and wraps cost the same
        snapshot = env.snapshot()
        bare.load(snapshot)
        for kind, step in kinds.items():
            if kind == "engine":
                env.restore(snapshot)
            _synchronize(device)
            begun = time.perf_counter()
            for k in range(_SLICE):
                step(k)
            _synchronize(device)
            times[kind].append(time.perf_counter() - begun)
        env.restore(snapshot | {"draws": snapshot["draws"] + 1})
        current = env.reset() if len(times["env"]) % 8 == 0 else env.current()
    rates = {kind: worlds * _SLICE / statistics.median(values) for kind, values in times.items()}
    for kind in KINDS:
        rates[f"{kind}_ratio"] = statistics.median(b / x for b, x in zip(times["bare"], times[kind], strict=True))
    return rates | {"ready_s": ready}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
