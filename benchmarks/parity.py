"""Engine parity: one control step of the Warp engine against one of the native engine, from the same state.

    python benchmarks/parity.py --json

State and solver warm start are copied from native to Warp before every step, so that the difference of a step is that
of float32 and another solver, and not of chaos. How chaos then spreads it is the second figure, a free run. The full
body starts lying, kneeling and standing on the floor, in random postures: contacts are where engines differ.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import mujoco
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from musclewarp.engines import Engine, NativeEngine
from musclewarp.engines.warp import WarpEngine
from musclewarp.models import MuscleModel, PhysicsConfig, load_model

TIMESTEP = {"bimanual": 0.004, "myofullbody": 0.005, "ms_human_700": 0.005}
SUBSTEPS = {"bimanual": 5, "myofullbody": 4, "ms_human_700": 4}
BARS = {"qpos": 1e-4, "act": 1e-6, "force_over_peak": 1e-3}
FREE_RUN_STEPS = (1, 2, 5, 10, 20, 50)
MANY_CONTACTS = 4


def load(name: str) -> MuscleModel:
    """The model with one physics step per engine step."""
    return load_model(name, physics=PhysicsConfig(TIMESTEP[name], 1))


def excitations(engine: Engine, generator: torch.Generator) -> torch.Tensor:
    """In [0, 1], one for every muscle and world, new in every control step; small ones are the more frequent."""
    return torch.rand(engine.ctrl.shape, generator=generator, dtype=torch.float64) ** 3


def scatter(engine: NativeEngine, generator: torch.Generator, pool: int = 8, settle: int = 240) -> None:
    """Put the worlds into different states; those with a free root have fallen and lie, all but the first.

    The first starts in the default posture: a full body stands, and then falls. The others are the states with most
    floor contacts out of `pool` times as many falls from random postures, `settle` physics steps long.
    """
    model, worlds = engine.model, engine.num_worlds
    fallers = NativeEngine(model, pool * worlds)
    qpos = fallers.qpos.clone()
    if model.has_free_root:
        qpos[:, 3:7] = torch.randn(len(qpos), 4, generator=generator, dtype=torch.float64)
        qpos[:, 3:7] /= qpos[:, 3:7].norm(dim=1, keepdim=True)
        qpos[:, 2] *= 0.8
    low, high = torch.as_tensor(model.mj_model.jnt_range[model.mj_model.dof_jntid[model.joint_dofs]]).unbind(1)
    posture = qpos[:, model.joint_qpos]
    target = low + (high - low) * torch.rand(posture.shape, generator=generator, dtype=torch.float64)
    qpos[:, model.joint_qpos] = 0.7 * posture + 0.3 * target
    put(fallers, model.couplings.project_qpos(qpos))
    contacts = torch.zeros(len(qpos), dtype=torch.float64)
    for step in range(settle):
        if step % SUBSTEPS[model.name] == 0:
            fallers.ctrl.copy_(excitations(fallers, generator))
        fallers.step()
        if model.feet and 2 * step > settle:
            contacts += fallers.sensor("floor")[:, 0] >= MANY_CONTACTS
    best = contacts.argsort(descending=True, stable=True)[:worlds]
    rest = torch.arange(worlds) > 0
    put(engine, engine.qpos.clone())
    engine.reset(rest, fallers.qpos[best], fallers.qvel[best], fallers.act[best])


def put(engine: Engine, qpos: torch.Tensor) -> None:
    """Reset all worlds to postures at rest with little activation."""
    everyone = torch.ones(engine.num_worlds, dtype=torch.bool)
    engine.reset(everyone, qpos, torch.zeros_like(engine.qvel), torch.full_like(engine.act, 0.05))


def copy_state(native: NativeEngine, warp: WarpEngine) -> None:
    """Bring the Warp engine to the native engine's state and warm start."""
    warp.reset(torch.ones(warp.num_worlds, dtype=torch.bool), native.qpos, native.qvel, native.act)
    warp.qacc_warmstart.copy_(native.qacc_warmstart)


def differences(native: NativeEngine, warp: WarpEngine) -> dict[str, np.ndarray]:
    """The largest difference in each world `(N,)` of every quantity, in SI units unless named otherwise."""
    model = native.model

    def gap(ours: torch.Tensor, theirs: torch.Tensor, scale: float | np.ndarray = 1.0) -> np.ndarray:
        return ((ours - theirs.double()).abs().numpy() / scale).max(axis=1)

    def sensor(name: str) -> np.ndarray:
        return gap(native.sensor(name), warp.sensor(name))

    figures = {
        "qpos": gap(native.qpos, warp.qpos),
        "qvel": gap(native.qvel, warp.qvel),
        "act": gap(native.act, warp.act),
        "force_over_peak": gap(
            native.derived["actuator_force"], warp.derived["actuator_force"], model.muscles["peak_force"].to_numpy()
        ),
        **{name: gap(native.derived[name], warp.derived[name]) for name in ("actuator_length", "actuator_velocity")},
    }
    for quantity in ("pos", "quat", "linvel", "angvel"):
        figures[f"site_{quantity}"] = np.max([sensor(f"{site}_{quantity}") for site in model.sites], axis=0)
    if model.feet:
        weight = float(model.mj_model.body_mass.sum()) * 9.81
        ours, theirs = native.sensor("floor"), warp.sensor("floor")
        figures["floor_contacts"] = gap(ours[:, :1], theirs[:, :1])
        figures["floor_force_over_weight"] = gap(ours[:, 1:4], theirs[:, 1:4], weight)
    return figures


def measure(model: MuscleModel, worlds: int, steps: int, seed: int = 0, free_run: int = 50) -> dict[str, Any]:
    """Differences of `steps` control steps from copied states, and those of a free run of `free_run` steps.

    A touch within float32's resolution of a position (some 1e-7 m) may begin one substep later in one engine than in
    the other. Control steps of a world in which the engines do not `agree` about its contacts are counted ("torn"), and
    the largest difference of all others stands beside that of all. The bars are for all.
    """
    generator = torch.Generator().manual_seed(seed)
    native, warp = NativeEngine(model, worlds), WarpEngine(model, worlds)
    scatter(native, generator)
    worst: dict[str, float] = defaultdict(float)
    worst_of_all: dict[str, float] = defaultdict(float)
    torn_steps, lying = 0, 0
    for _ in range(steps):
        copy_state(native, warp)
        same = drive(native, warp, excitations(native, generator))
        gaps = differences(native, warp)
        for key, gap in gaps.items():
            worst[key] = max(worst[key], float(gap[same].max(initial=0.0)))
            worst_of_all[key] = max(worst_of_all[key], float(gap.max()))
        torn_steps += int((~same).sum())
        if model.feet:
            lying += int((native.sensor("floor")[:, 0] >= MANY_CONTACTS).sum())
    copy_state(native, warp)
    after_reset = reset_one(native, warp)
    copy_state(native, warp)
    curve = {}
    for step in range(1, free_run + 1):
        drive(native, warp, excitations(native, generator))
        if step in FREE_RUN_STEPS:
            gaps = differences(native, warp)
            curve[step] = {key: float(gaps[key].max()) for key in BARS}
    return {
        "model": model.name,
        "worlds": worlds,
        "steps": steps,
        "timestep": model.physics.timestep,
        "physics_steps_per_control_step": SUBSTEPS[model.name],
        "max": dict(worst),
        "solver_tolerance": model.mj_model.opt.tolerance,
        "torn_fraction": torn_steps / (steps * worlds),
        "max_with_torn": dict(worst_of_all),
        "max_after_reset": after_reset,
        "passed_with_torn": all(worst_of_all[key] <= bar for key, bar in BARS.items()),
        "fraction_with_contacts": lying / (steps * worlds) if model.feet else None,
        "unhealthy": int(native.unhealthy().sum() + warp.unhealthy().sum()),
        "passed": all(worst[key] <= bar for key, bar in BARS.items()),
        "free_run": curve,
        "versions": {name: version(name) for name in ("mujoco", "mujoco-warp", "warp-lang")},
    }


def reset_one(native: NativeEngine, warp: WarpEngine) -> dict[str, float]:
    """Differences right after a masked reset of the last world to the first one's state, in that world."""
    last = torch.arange(native.num_worlds) == native.num_worlds - 1
    state = [x[:1].expand(native.num_worlds, -1).clone() for x in (native.qpos, native.qvel, native.act)]
    for engine in (native, warp):
        engine.reset(last, *state)
    return {key: float(gap[-1]) for key, gap in differences(native, warp).items()}


def drive(native: NativeEngine, warp: WarpEngine, ctrl: torch.Tensor) -> np.ndarray:
    """One control step of both under the same excitations; which worlds `(N,)` had the same contacts throughout.

    The engines' own step is one physics step here, so that contacts can be compared after each.
    """
    same = agree(native, warp)
    native.ctrl.copy_(ctrl)
    warp.ctrl.copy_(ctrl)
    for _ in range(SUBSTEPS[native.model.name]):
        native.step()
        warp.step()
        same &= agree(native, warp)
    return same


def contacts(engine: Engine) -> tuple[np.ndarray, np.ndarray]:
    """Constraint rows and total penetration (m) of each world at its present state, from the simulators' books."""
    if isinstance(engine, NativeEngine):
        batch, data = engine._batch, mujoco.MjData(engine.model.mj_model)
        depth = np.zeros(engine.num_worlds)
        for world in range(engine.num_worlds):
            data.qpos[:] = engine.qpos[world]
            mujoco.mj_fwdPosition(engine.model.mj_model, data)
            depth[world] = -data.contact.dist.sum()
        return batch.bind("nefc").copy(), depth
    assert isinstance(engine, WarpEngine)
    contact, active = engine._d.contact, int(engine._d.nacon.numpy()[0])
    worlds, dist = contact.worldid.numpy()[:active], contact.dist.numpy()[:active]
    return engine._d.nefc.numpy().copy(), np.bincount(worlds, -dist, engine.num_worlds)


def agree(native: NativeEngine, warp: WarpEngine) -> np.ndarray:
    """Worlds `(N,)` where both engines see the same contacts, equally deep within a tenth of a millimetre."""
    (rows, depth), (their_rows, their_depth) = contacts(native), contacts(warp)
    return (rows == their_rows) & (np.abs(depth - their_depth) < 1e-4)


def show(console: Console, result: Mapping[str, Any]) -> None:
    """A table of one model's figures."""
    title = f"{result['model']}: {result['steps']} control steps in {result['worlds']} worlds, from copied states"
    table = Table("quantity", "largest difference", "with torn steps", "after a masked reset", "bar", title=title)
    for key, value in result["max"].items():
        table.add_row(
            key,
            f"{value:.2e}",
            f"{result['max_with_torn'][key]:.2e}",
            f"{result['max_after_reset'][key]:.2e}",
            f"{BARS[key]:.0e}" if key in BARS else "",
        )
    console.print(table)
    console.print(f"torn, the engines disagreeing about a contact: {result['torn_fraction']:.2%} of the worlds' steps")
    if result["fraction_with_contacts"] is not None:
        console.print(f"{MANY_CONTACTS} or more floor contacts in {result['fraction_with_contacts']:.0%} of them")
    curve = Table("control step", *BARS, title="free run from the same state")
    for step, figures in result["free_run"].items():
        curve.add_row(str(step), *(f"{figures[key]:.1e}" for key in BARS))
    console.print(curve)
    for key, scope in (("passed", "without torn steps"), ("passed_with_torn", "with torn steps")):
        console.print(f"bars {scope}: {'met' if result[key] else '[red]missed[/red]'}")
    console.print(f"unhealthy worlds: {result['unhealthy']}")


def main() -> None:
    """Measure, print a table, and on request one JSON line a model; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=sorted(SUBSTEPS), default=sorted(SUBSTEPS))
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON line per model on stdout, the tables on stderr")
    arguments = parser.parse_args()
    console = Console(stderr=arguments.json)
    passed = True
    for name in arguments.models:
        result = measure(load(name), arguments.worlds, arguments.steps, arguments.seed)
        show(console, result)
        if arguments.json:
            print(json.dumps(result))
        passed &= result["passed_with_torn"]
    raise SystemExit(0 if passed else 1)


if __name__ == "__main__":
    main()
