"""MuscleModel: a compiled MuJoCo model plus the tables that make it a person."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import mujoco
import numpy as np
import pandas as pd
import torch

from musclewarp.errors import ConfigError, ModelError, require
from musclewarp.models.couplings import Couplings
from musclewarp.models.muscles import muscle_table, require_length_ranges
from musclewarp.models.stepped import without_looks
from musclewarp.models.surfaces import lowest_foot_point

_CONTACT_DATA = sum(
    1 << int(field)
    for field in (
        mujoco.mjtConDataField.mjCONDATA_FOUND,
        mujoco.mjtConDataField.mjCONDATA_FORCE,
        mujoco.mjtConDataField.mjCONDATA_TORQUE,
        mujoco.mjtConDataField.mjCONDATA_POS,
    )
)
_HASHED = """
    body_parentid body_pos body_quat body_mass body_ipos body_iquat body_inertia body_gravcomp
    jnt_type jnt_bodyid jnt_pos jnt_axis jnt_limited jnt_range jnt_margin jnt_stiffness jnt_stiffnesspoly
    jnt_springyield jnt_actfrclimited jnt_actfrcrange jnt_actgravcomp
    qpos0 qpos_spring dof_armature dof_damping dof_dampingpoly dof_frictionloss
    geom_bodyid geom_type geom_pos geom_quat geom_size geom_contype geom_conaffinity
    pair_geom1 pair_geom2 exclude_signature
    eq_type eq_objtype eq_obj1id eq_obj2id eq_active0 eq_data
    site_bodyid site_pos site_quat wrap_type wrap_objid wrap_prm
    tendon_adr tendon_num tendon_limited tendon_range tendon_margin tendon_stiffness tendon_stiffnesspoly
    tendon_lengthspring tendon_springyield tendon_armature tendon_damping tendon_dampingpoly tendon_frictionloss
    tendon_actfrclimited tendon_actfrcrange
    actuator_trntype actuator_trnid actuator_gear actuator_dyntype actuator_dynprm actuator_gaintype actuator_gainprm
    actuator_biastype actuator_biasprm actuator_lengthrange actuator_delay actuator_actlimited actuator_actrange
    actuator_actearly actuator_forcelimited actuator_forcerange actuator_armature actuator_damping actuator_dampingpoly
"""
_REDUCE_NETFORCE = 3  # one synthetic contact, in the world frame, at the force-weighted centroid


@dataclass(frozen=True)
class PhysicsConfig:
    """How time is cut: a control step is `substeps` physics steps.

    Attributes:
        timestep: physics step in s. With Euler integration, 4 to 5 ms is within 0.006 rad of 0.1 ms after 0.3 s.
        substeps: physics steps per control step; control rate = 1 / (timestep * substeps).
    """

    timestep: float = 0.004
    substeps: int = 5

    def __post_init__(self) -> None:
        if not 0.0 < self.timestep <= 0.02:
            raise ConfigError(f"physics.timestep is {self.timestep} s; choose one in (0, 0.02]")
        require(self, "physics.substeps", self.substeps >= 1, "it counts physics steps, at least 1")

    @property
    def control_dt(self) -> float:
        """Control step in s."""
        return self.timestep * self.substeps

    def whole_steps(self, seconds: float, key: str) -> int:
        """The control steps in `seconds`, which the config's `key` says.

        Raises:
            ConfigError: they are no whole number.
        """
        steps = seconds / self.control_dt
        if abs(steps - round(steps)) > 1e-6:
            raise ConfigError(f"{key} is {seconds} s; give a whole number of control steps of {self.control_dt:g} s")
        return round(steps)


@dataclass(frozen=True)
class Layout:
    """What a family of models calls the parts of a person.

    Attributes:
        sites: tracking site -> the body that it lies on, at its origin but for `offsets`; the first is the root that
            others are relative to.
        feet: foot ("right", "left") -> the body whose subtree is that foot. Empty for a model without legs.
        floor: name of the floor geom.
        arena_bytes: what MuJoCo may use per world for contacts and constraints, measured with a margin.
        finger_parents: the bodies below which every joint is a finger's.
        rest: angles in rad of a relaxed posture, of the joints of both arms, named without their side.
        t_pose: angles that stretch the arms to the sides, palms down, likewise.
        propped: angles of wrists bent back, as of hands that carry the body, likewise.
        offsets: where a tracking site lies in its body, m, if not at its origin.
        gains: stiffness in Nm/rad and damping in Nm s/rad of joints whose name begins so, see `models.gains`.
    """

    sites: Mapping[str, str]
    feet: Mapping[str, str]
    floor: str
    arena_bytes: int
    finger_parents: Sequence[str]
    rest: Mapping[str, float] = field(default_factory=dict[str, float])
    t_pose: Mapping[str, float] = field(default_factory=dict[str, float])
    propped: Mapping[str, float] = field(default_factory=dict[str, float])
    offsets: Mapping[str, tuple[float, float, float]] = field(default_factory=dict[str, tuple[float, float, float]])
    gains: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])


class MuscleModel:
    """A person made of muscles; immutable, shared by engines, references and environments.

    Attributes:
        name: what `load_model` calls it.
        layout: what the model's family calls the parts of a person.
        mj_model: the compiled `mujoco.MjModel`, bones and all.
        stepped: the same without what is only looked at: what all engines step. Geoms and sites have other ids.
        physics: time step and substeps, the latter being the engines'.
        muscles: see `muscle_table`.
        couplings: see `Couplings`.
        sites: names of the tracking sites, `S` of them, the root first.
        feet: names of the feet, possibly none.
    """

    def __init__(self, name: str, spec: mujoco.MjSpec, layout: Layout, physics: PhysicsConfig) -> None:
        _instrument(spec, layout)
        spec.option.timestep = physics.timestep
        # mujoco 4.0.0 factorises sparse Hessians wrongly; dense is as fast at this size
        spec.option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
        # the default heals a world that is not finite by teleporting it to qpos0, silently
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        _make_continuous(spec)
        spec.memory, spec.njmax, spec.nconmax = layout.arena_bytes, -1, -1
        for actuator in spec.actuators:
            actuator.ctrllimited = True
            actuator.ctrlrange = [0.0, 1.0]
        self.name = name
        self.layout = layout
        self.physics = physics
        self.mj_model = mj_model = spec.compile()
        for joint in np.flatnonzero(mj_model.jnt_type == mujoco.mjtJoint.mjJNT_BALL):
            raise ModelError(f"joint '{mj_model.joint(int(joint)).name}' of model '{name}' is a ball; use three hinges")
        self.couplings = Couplings.from_model(mj_model)
        require_length_ranges(mj_model)
        self.muscles: pd.DataFrame = muscle_table(mj_model, self.couplings)
        self.sites = tuple(layout.sites)
        self.feet = tuple(layout.feet)
        self.site_ids = np.array([mj_model.site(f"{site}_mimic").id for site in self.sites])
        self.site_body_ids = mj_model.site_bodyid[self.site_ids]
        self.has_free_root = bool((mj_model.jnt_type == mujoco.mjtJoint.mjJNT_FREE).any())
        self.stepped = without_looks(spec)

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of the person: the same skeleton, masses, joints, couplings, muscles and surfaces have the same hash.

        Taken over numbers rounded to 6 digits, so that compilers do not matter. Meshes are looks, and time steps,
        solver options, friction and the softness of constraints physics: they are left out.
        """
        m = self.mj_model
        digest = hashlib.sha256(" ".join([*self.dof_names, *self.muscles.index, *self.sites]).encode())
        solid = m.geom_type != mujoco.mjtGeom.mjGEOM_MESH
        for key in _HASHED.split():
            value = getattr(m, key)[solid] if key.startswith("geom_") else getattr(m, key)
            if real := value.dtype.kind == "f":
                value = np.where(np.abs(value) < 1e-9, 0.0, value)
            digest.update(np.char.mod("%.6g" if real else "%d", value).tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def dof_names(self) -> tuple[str, ...]:
        """Name of each dof `(nv,)`; a free joint's six are `<joint>_x .. _z`, `<joint>_rx .. _rz`."""
        names = []
        for i in range(self.mj_model.njnt):
            joint = self.mj_model.joint(i)
            free = joint.type[0] == mujoco.mjtJoint.mjJNT_FREE
            names += [f"{joint.name}_{axis}" for axis in ("x", "y", "z", "rx", "ry", "rz")] if free else [joint.name]
        return tuple(names)

    @functools.cached_property
    def joint_dofs(self) -> np.ndarray:
        """Independent hinge and slide dofs `(J,)`: what a joint-angle error is taken over."""
        scalar = self.mj_model.jnt_type[self.mj_model.dof_jntid] != mujoco.mjtJoint.mjJNT_FREE
        return self.couplings.independent[scalar[self.couplings.independent]]

    @functools.cached_property
    def joint_qpos(self) -> np.ndarray:
        """qpos index `(J,)` of each of `joint_dofs`."""
        return self.mj_model.jnt_qposadr[self.mj_model.dof_jntid[self.joint_dofs]]

    def posture(self, angles: Mapping[str, float]) -> np.ndarray:
        """The default posture `(nq,)` with both sides' joints, named without their side, at `angles` in rad.

        Raises:
            ModelError: there is no such joint.
        """
        qpos = self.mj_model.qpos0.copy()
        for name, angle in angles.items():
            for side in ("r", "l"):
                try:
                    qpos[self.mj_model.joint(f"{name}_{side}").qposadr[0]] = angle
                except KeyError as error:
                    raise ModelError(f"model '{self.name}' has no joint '{name}_{side}'") from error
        return self.couplings.project_qpos(torch.from_numpy(qpos)).numpy()

    @functools.cached_property
    def standing_root_height(self) -> float:
        """Height in m of the root site above the lowest point of the feet, in the default posture.

        Raises:
            ModelError: the model has no feet.
        """
        if not self.feet:
            raise ModelError(f"model '{self.name}' has no feet, so no standing height")
        data = mujoco.MjData(self.mj_model)
        mujoco.mj_kinematics(self.mj_model, data)
        return float(data.site_xpos[self.site_ids[0], 2] - lowest_foot_point(self, data))

    @functools.lru_cache(maxsize=4)  # noqa: B019 (models live as long as the process; a copy per step would sync a GPU)
    def _fibre_constants(self, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        columns = self.muscles[["optimal_fibre_length", "tendon_slack_length"]].to_numpy().T.copy()
        optimal, slack = torch.tensor(columns, dtype=dtype, device=device)
        return optimal, slack

    def fibre_state(self, length: torch.Tensor, velocity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised fibre lengths and velocities of the rigid-tendon muscles.

        Args:
            length: `(..., M)` m, of the muscle-tendon units.
            velocity: `(..., M)` m/s, positive when they lengthen.

        Returns:
            `(..., M)` in optimal fibre lengths, and in optimal fibre lengths per second, float32.
        """
        optimal, slack = self._fibre_constants(length.dtype, length.device)
        return ((length - slack) / optimal).float(), (velocity / optimal).float()

    def sensor_slice(self, name: str) -> slice:
        """Where sensor `name` writes in `sensordata`."""
        try:
            sensor = self.mj_model.sensor(name)
        except KeyError as error:
            raise ModelError(f"model '{self.name}' has no sensor '{name}'") from error
        return slice(int(sensor.adr[0]), int(sensor.adr[0] + sensor.dim[0]))


def _make_continuous(spec: mujoco.MjSpec) -> None:
    """Let the next state depend on the present one without jumps, and compute it to the end.

    Small differences then stay small: between float32 and float64, and between two policies. It costs nothing: the
    solver needs fewer iterations, and standing feet lie as deep as with MuJoCo's defaults, 1.6 mm at most.
    """
    # by default a contact begins with nine tenths of its impedance, and then a touch found one step earlier is another
    # movement; here all of it grows over the 1 mm (`solimp[2]`) over which the last tenth does by default
    for contact in (*spec.geoms, *spec.pairs):
        contact.solimp[0] = 0.0
    # at the default, 1e-8, the lightest bodies, kneecaps, end a control step up to 1e-4 rad off
    spec.option.tolerance = 1e-12
    # at the default, 1e-6, the normal between two ellipsoids, feet, is up to 3e-3 rad off
    spec.option.ccd_tolerance, spec.option.ccd_iterations = 1e-9, 100


def _instrument(spec: mujoco.MjSpec, layout: Layout) -> None:
    """Replace the model's sensors, of which nobody reads most, by what terms and analyses need."""
    for sensor in list(spec.sensors):
        spec.delete(sensor)
    for site, body_name in layout.sites.items():
        body = spec.body(body_name)
        if body is None:
            raise ModelError(f"no body '{body_name}' for the tracking site '{site}'")
        body.add_site(name=f"{site}_mimic", pos=layout.offsets.get(site, (0.0, 0.0, 0.0)), size=[0.01] * 3, group=4)
        for quantity, kind in (
            ("pos", mujoco.mjtSensor.mjSENS_FRAMEPOS),
            ("quat", mujoco.mjtSensor.mjSENS_FRAMEQUAT),
            ("linvel", mujoco.mjtSensor.mjSENS_FRAMELINVEL),
            ("angvel", mujoco.mjtSensor.mjSENS_FRAMEANGVEL),
        ):
            spec.add_sensor(
                name=f"{site}_{quantity}",
                type=kind,
                objtype=mujoco.mjtObj.mjOBJ_SITE,
                objname=f"{site}_mimic",
            )
    for foot, body_name in layout.feet.items():
        _add_contact_sensor(spec, f"foot_{foot}", mujoco.mjtObj.mjOBJ_XBODY, body_name, layout.floor)
    if layout.feet:
        _add_contact_sensor(spec, "floor", mujoco.mjtObj.mjOBJ_UNKNOWN, "", layout.floor)


def _add_contact_sensor(spec: mujoco.MjSpec, name: str, first_type: mujoco.mjtObj, first: str, floor: str) -> None:
    """Found, force, torque and position of everything between `first` (any body if empty) and the floor.

    The floor is the sensor's second side where the first is given, so that the force is on the floor.
    """
    sensor = spec.add_sensor(
        name=name, type=mujoco.mjtSensor.mjSENS_CONTACT, intprm=[_CONTACT_DATA, _REDUCE_NETFORCE, 1]
    )
    if first:
        sensor.objtype, sensor.objname = first_type, first
        sensor.reftype, sensor.refname = mujoco.mjtObj.mjOBJ_GEOM, floor
    else:
        sensor.objtype, sensor.objname = mujoco.mjtObj.mjOBJ_GEOM, floor
