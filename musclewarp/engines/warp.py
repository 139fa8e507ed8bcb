"""WarpEngine: mujoco_warp on CUDA, one graph per control step, or on Warp's CPU device, for tests.

Plain `mujoco_warp.step` first brings kinematics, tendons and constraints up to the state and then integrates, so
that what it leaves behind belongs to the state *before*. Here the step is rotated: forces and integration first, then
the stages of the new state, which the next step continues from. The numbers are the same, and the kinematics that
observations and rewards read are current without being paid twice.
"""

from __future__ import annotations

import contextlib
import copy
import gc
from collections.abc import Callable, Collection, Generator
from importlib.metadata import version

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp

from musclewarp.engines import warp_geometry as warp_geometry  # replaces collision functions of mujoco_warp
from musclewarp.engines.buffers import Buffers, measure_buffers
from musclewarp.engines.engine import DERIVED, INERTIAL, Engine, check_variable
from musclewarp.engines.inertial_constants import CONSTANTS, InertialConstants
from musclewarp.engines.warp_skipped import Skipped
from musclewarp.errors import ConfigError, ModelError
from musclewarp.kernels import activation
from musclewarp.models import MuscleModel

# Warp would announce every module it loads on the output where our commands print tables and JSON.
wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)

_INTEGRATORS = {
    int(mujoco.mjtIntegrator.mjINT_EULER): mjw.euler,
    int(mujoco.mjtIntegrator.mjINT_IMPLICIT): mjw.implicit,
    int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST): mjw.implicit,
}
# An iteration limit leaves a solution that is less exact, not one that lacks a contact; in float32 the last digits of a
# tolerance are out of reach.
_UNCONVERGED = int(mjw.OverflowType.ITERATIONS | mjw.OverflowType.LS_ITERATIONS)
_OVERFLOWS = tuple(kind for kind in mjw.OverflowType if kind and not kind & _UNCONVERGED)
_NOBODY_READS = Skipped()


class WarpEngine(Engine):
    """N worlds in float32 on mujoco_warp.

    Args:
        model: what to simulate.
        num_worlds: N.
        device: a CUDA device, or "cpu", an order of magnitude slower than `NativeEngine`.
        nconmax, njmax: room for contacts and constraint rows, see `Buffers`; None: measured.
        skipped: what is left out because nobody reads it.
        varied: fields of the model in which worlds may differ, see `Engine.varied`.
        postures: `(F, nq)` of the references that will be imitated: there is room for what they touch.

    Attributes:
        buffers: the room that there is, per world.

    Raises:
        ConfigError: `num_worlds` is less than one.
        ModelError: mujoco_warp cannot step the model, or is not the version whose parts are replaced here.
    """

    name = "warp"
    fault_kinds = ("not_finite", *(str(kind.name).lower() for kind in _OVERFLOWS), "unconverged")

    def __init__(
        self,
        model: MuscleModel,
        num_worlds: int,
        device: torch.device | str = "cpu",
        nconmax: int | None = None,
        njmax: int | None = None,
        skipped: Skipped = _NOBODY_READS,
        varied: Collection[str] = (),
        postures: np.ndarray | None = None,
    ) -> None:
        if num_worlds < 1:
            raise ConfigError(f"num_worlds is {num_worlds}; an engine needs at least one world")
        if not version("mujoco-warp").startswith("4.0."):
            raise ModelError(
                f"WarpEngine replaces parts of mujoco_warp 4.0, installed is {version('mujoco-warp')}; install "
                "'mujoco-warp==4.0.*'"
            )
        self.model = model
        self.num_worlds = num_worlds
        self.device = _with_index(torch.device(device))
        self.dtype = torch.float32
        self._skipped = skipped
        wp.init()
        self._wp_device = wp.device_from_torch(self.device)
        mj_model = for_warp(model.stepped if skipped.looks else model.mj_model)
        with wp.ScopedDevice(self._wp_device):
            self._m = mjw.put_model(mj_model)
            self._m.callback.act_dyn = _advance_activation
            self._m.opt.run_qacc_smooth = not skipped.smooth_acceleration
            self._m.opt.warn_overflow = 0  # `unhealthy` tells, per world; printing from kernels does not end
            if nconmax is None or njmax is None:
                measured = measure_buffers(self._m, mj_model, model, num_worlds, postures)
                nconmax = measured.contacts if nconmax is None else nconmax
                njmax = measured.rows if njmax is None else njmax
            self.buffers = Buffers(nconmax, njmax)
            self._d = data = mjw.make_data(mj_model, num_worlds, nconmax=nconmax, njmax=njmax)
        self._integrate = _INTEGRATORS[int(mj_model.opt.integrator)]
        self.qpos, self.qvel, self.act, self.ctrl, self.xfrc_applied, self.qacc_warmstart = (
            wp.to_torch(getattr(data, name))
            for name in ("qpos", "qvel", "act", "ctrl", "xfrc_applied", "qacc_warmstart")
        )
        self.derived = {name: wp.to_torch(getattr(data, name)) for name in DERIVED}
        self._overflow = wp.to_torch(data.overflow)
        self._overflow_bits = torch.tensor([int(kind) for kind in _OVERFLOWS], dtype=torch.int32, device=self.device)
        # before a graph is captured: it keeps the addresses of the model's arrays
        self.varied = {name: self._expand(name) for name in check_variable(varied)}
        self._constants = None
        if not self.varied.keys().isdisjoint(INERTIAL):
            fields = {name: self._expand(name) for name in (*INERTIAL, *CONSTANTS) if name not in self.varied}
            self._constants = InertialConstants(mj_model, {**self.varied, **fields})
        # what `reset` recomputes in all worlds although it belongs to the last substep in most
        self._last_substep = [self.derived[name] for name in ("actuator_force", "sensordata")]
        self._run_step, self._run_forward = (capture(stages, self.device) for stages in (self._step, self._forward))
        zeros = torch.zeros_like
        qpos0 = torch.as_tensor(mj_model.qpos0, dtype=self.dtype, device=self.device).expand_as(self.qpos)
        everyone = torch.ones(num_worlds, dtype=torch.bool, device=self.device)
        self.reset(everyone, qpos0, zeros(self.qvel), zeros(self.act))

    def step(self) -> None:
        """See `Engine.step`; on CUDA it returns as soon as the graph is launched."""
        self._overflow.bitwise_and_(~_UNCONVERGED)  # of the last step only
        self._run_step()

    def reset(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor, act: torch.Tensor) -> None:
        """See `Engine.reset`; the host waits for nothing, so it costs the same whatever the mask holds."""
        # The stages are run in all worlds. Where neither state nor warm start changes they come out as they were, but
        # for forces and contact sensors, which there belong to the last substep and are put back.
        rows = mask[:, None]
        for live, value in ((self.qpos, qpos), (self.qvel, qvel), (self.act, act)):
            live.copy_(torch.where(rows, value, live))
        for live in (self.ctrl, self.qacc_warmstart):
            live.masked_fill_(rows, 0.0)
        self.xfrc_applied.masked_fill_(rows[:, :, None], 0.0)
        self._overflow.masked_fill_(mask, 0)
        if self._constants is not None:
            self._constants.update(mask)
        kept = [live.clone() for live in self._last_substep]
        self._run_forward()
        for live, before in zip(self._last_substep, kept, strict=True):
            live.copy_(torch.where(rows, live, before))

    def derive(self, name: str) -> torch.Tensor:
        """See `Engine.derive`."""
        return wp.to_torch(getattr(self._d, name))

    def faults(self) -> torch.Tensor:
        """See `Engine.faults`; every overflow of mujoco_warp counts. Nothing waits for the device."""
        # a sum is finite only if every term is; a number that is not finite stays so in qpos
        total = self.qpos.sum(dim=1) + self.qvel.sum(dim=1) + self.act.sum(dim=1)
        overflows = (self._overflow[:, None] & self._overflow_bits) != 0
        unconverged = (self._overflow & _UNCONVERGED) != 0
        return torch.cat((~torch.isfinite(total)[:, None], overflows, unconverged[:, None]), dim=1)

    def _expand(self, name: str) -> torch.Tensor:
        """Give each world its own values of a field of the model; a live tensor `(N, ...)` of them."""
        owner, field = (self._m.opt, name.removeprefix("opt.")) if name.startswith("opt.") else (self._m, name)
        shared = getattr(owner, field)
        values = np.repeat(shared.numpy()[:1], self.num_worlds, axis=0)
        own = wp.array(values, dtype=shared.dtype, device=self._wp_device)
        setattr(owner, field, own)
        return wp.to_torch(own)

    def _update_stages(self, sense: bool) -> None:
        """Positions, velocities and constraints at the current state, and their sensors if asked for."""
        m, d = self._m, self._d
        # not `mjw.step1`: it wipes the contact sensors, which belong to the substep that has just ended
        mjw.fwd_position(m, d, factorize=False)
        if sense:
            mjw.sensor_pos(m, d)
        mjw.fwd_velocity(m, d)
        if sense:
            mjw.sensor_vel(m, d)

    def _update_forces(self, sense: bool) -> None:
        """Muscle forces, accelerations and contact forces from the stages of the current state, and their sensors."""
        m, d = self._m, self._d
        mjw.fwd_actuation(m, d)
        mjw.fwd_acceleration(m, d, factorize=True)
        mjw.solve(m, d)
        if sense:
            mjw.sensor_acc(m, d)

    def _step(self) -> None:
        with self._skipped.applied():
            self._substeps()

    def _substeps(self) -> None:
        last = self.model.physics.substeps - 1
        for substep in range(last + 1):
            sense = substep == last or not self._skipped.early_sensors
            self._update_forces(sense)
            self._integrate(self._m, self._d)
            self._update_stages(sense)

    def _forward(self) -> None:
        with self._skipped.applied():
            self._update_stages(True)
            self._update_forces(True)


def capture(program: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """`program` to be called at will: on CUDA a graph of it, launched on the stream that torch works on.

    It is run once before it is captured, for kernels to be compiled and loaded.
    """
    wp_device = wp.device_from_torch(device)

    def eager() -> None:
        with wp.ScopedDevice(wp_device):
            program()

    if device.type != "cuda":
        return eager
    eager()
    with _no_garbage_collection(), wp.ScopedDevice(wp_device), wp.ScopedCapture() as captured:
        program()
    wp.synchronize_device(wp_device)
    graph = captured.graph
    assert graph is not None

    def replay() -> None:
        wp.capture_launch(graph, stream=wp.stream_from_torch(torch.cuda.current_stream(device)))

    return replay


def _advance_activation(m: mjw.Model, d: mjw.Data) -> None:
    """Our own kernel has the last word on how activation changes; Euler's step, for MuJoCo C takes that."""
    activation.write_act_dot(d.ctrl, d.act, m.actuator_dynprm, m.opt.timestep, d.act_dot, exact=False)


def for_warp(mj_model: mujoco.MjModel) -> mujoco.MjModel:
    """The model as mujoco_warp accepts it; no number of the physics changes.

    Raises:
        ModelError: the integrator is none that a step can be rotated with.
    """
    m = copy.copy(mj_model)
    if int(m.opt.integrator) not in _INTEGRATORS:
        raise ModelError(f"WarpEngine cannot step integrator {m.opt.integrator}; use Euler or implicitfast")
    # mujoco_warp never heals a world, and refuses the flag that forbids it
    m.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    # EPA is a last resort here, see `warp_geometry`; every iteration of it takes memory in every world, and in float32
    # it cannot come as close as in MuJoCo C: MuJoCo's defaults
    m.opt.ccd_iterations, m.opt.ccd_tolerance = 35, 1e-6
    # how the Jacobian is stored is each simulator's own affair: here dense ends at 60 dofs, and sparse is right
    m.opt.jacobian = mujoco.mjtJacobian.mjJAC_AUTO
    return m


def _with_index(device: torch.device) -> torch.device:
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"WarpEngine runs on CUDA and on the CPU, not on '{device}'")
    return torch.empty(0, device=device).device  # "cuda" is the current device: say which


@contextlib.contextmanager
def _no_garbage_collection() -> Generator[None, None, None]:
    """Destroying an old graph while a new one is captured corrupts the new one."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
