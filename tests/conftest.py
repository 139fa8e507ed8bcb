"""What all tests share: the data root, few threads, no stray log file, and a count of the GPU tests."""

from __future__ import annotations

import ctypes.util
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

# Workers, not threads, use the cores; set before numpy and torch read it, and inherited by subprocesses.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# MuJoCo chooses its OpenGL when it is imported, and without a screen its own choice (GLFW) cannot work.
if "DISPLAY" not in os.environ and ctypes.util.find_library("EGL"):
    os.environ.setdefault("MUJOCO_GL", "egl")
elif "DISPLAY" not in os.environ and ctypes.util.find_library("OSMesa"):
    os.environ.setdefault("MUJOCO_GL", "osmesa")

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.models import MuscleModel, load_model
from musclewarp.references.reference import SUFFIX, Reference

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # in the background of a script; what tests start would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
    log = mujoco.MjLogConfig.get()
    log.logto_file = False  # else warnings are appended to MUJOCO_LOG.TXT in the working folder
    log.set()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The cores this process may use; more than eight workers only cost memory."""
    return min(len(os.sched_getaffinity(0)), 8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many GPU tests ran and how many did not, so that a skipped suite is seen."""
    counts = dict.fromkeys(("passed", "failed", "error", "skipped"), 0)
    for outcome in counts:
        reports = terminalreporter.stats.get(outcome, [])
        counts[outcome] = sum("gpu" in getattr(report, "keywords", {}) for report in reports)
    skipped = counts.pop("skipped")
    terminalreporter.write_line(f"GPU tests: {sum(counts.values())} ran, {skipped} skipped (marker `gpu`)")


def _skip_or_fail(required: str, reason: str) -> None:
    if os.environ.get(required) == "1":
        pytest.fail(f"{reason}, and {required}=1 forbids to skip")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def arms() -> MuscleModel:
    """Two arms, compiled once a session."""
    return load_model("bimanual")


@pytest.fixture(scope="session")
def body() -> MuscleModel:
    """The whole body, compiled once a session."""
    return load_model("myofullbody")


@pytest.fixture
def write_reference(tmp_path: Path) -> Callable[..., Path]:
    """Writes a reference of no model in particular below `tmp_path / "refs"`, of a recording of its own by default."""

    def write(name: str, recording: str = "", quality: Mapping[str, float] | None = None) -> Path:
        places = np.zeros((2, 1, 3))
        source = {"file": f"{name}.npz", "sha256": recording or f"sha of {name}"}
        reference = Reference(
            name, "biped", "0" * 64, 0.02, np.zeros((2, 3)), np.zeros((2, 3)), ("root",), places, places,
            quality=quality or {}, source=source,
        )  # fmt: skip
        return reference.save(tmp_path / "refs" / f"{name}{SUFFIX}")

    return write


@pytest.fixture(scope="session")
def movement():
    """`movement(model, frames, dt, seed)`: postures `(T, nq)` in smooth motion on the couplings, each seed its own."""

    def movement(model: MuscleModel, frames: int, dt: float, seed: int = 0) -> np.ndarray:
        m, random = model.mj_model, np.random.default_rng(seed)
        time = dt * np.arange(frames)
        qpos = np.tile(m.qpos0, (frames, 1))
        for address, joint in zip(model.joint_qpos, m.dof_jntid[model.joint_dofs], strict=True):
            low, high = m.jnt_range[joint]
            phase, swing = random.uniform(0, 2 * np.pi), 0.2 * (high - low)
            qpos[:, address] = (low + high) / 2 + swing * np.sin(2 * np.pi * 0.7 * time + phase)
        if model.has_free_root:
            qpos[:, :3] += np.stack([time, np.sin(3 * time), 0.1 * np.cos(2 * time)], 1)
            for t in range(1, frames):
                qpos[t, 3:7] = qpos[t - 1, 3:7]
                spin = np.array([np.sin(2 * time[t]), 0.5, np.cos(time[t])])
                mujoco.mju_quatIntegrate(qpos[t, 3:7], spin, dt)
        return model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()

    return movement


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The data root with real recordings; skips where there is none, fails if MUSCLEWARP_REQUIRE_DATA=1."""
    named = os.environ.get("MUSCLEWARP_DATA")
    root = Path(named) if named else ROOT.parent / "shared" / "data"
    if not root.is_dir():
        _skip_or_fail("MUSCLEWARP_REQUIRE_DATA", f"no real recordings at {root}: set MUSCLEWARP_DATA")
    return root


@pytest.fixture(scope="session")
def ms_human(data_root: Path) -> MuscleModel:
    """MS-Human-700, compiled once a session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSCLEWARP_DATA", str(data_root))
        return load_model("ms_human_700")


@pytest.fixture(scope="session")
def headless_gl() -> None:
    """Skip where nothing can be rendered (no EGL, no OSMesa); fail there if MUSCLEWARP_REQUIRE_GL=1."""
    try:
        context = mujoco.GLContext(16, 16)
        context.make_current()
        context.free()
    except Exception as error:  # every backend has its own way to say that it is not there
        _skip_or_fail("MUSCLEWARP_REQUIRE_GL", f"no headless OpenGL ({error}): install libegl1 or libosmesa6")
