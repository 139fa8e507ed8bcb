"""Models and made-up references once a session; environments of few worlds on the native engine."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tensordict import TensorDict

from musclewarp.envs import EnvConfig, ImitationEnv
from musclewarp.envs.state import State, Target
from musclewarp.models import MuscleModel
from musclewarp.models.rotation import heading
from musclewarp.references import Reference, make_reference
from musclewarp.references.library import Goal, ReferenceLibrary
from musclewarp.references.quality import lowest_foot_heights

LENGTHS = (20, 40)


def sway(model: MuscleModel, frames: int, seed: int) -> Reference:
    """Every independent joint swings a little about the default posture; the full body stands on the floor."""
    m, random = model.mj_model, np.random.default_rng(seed)
    dt = model.physics.control_dt
    time = dt * np.arange(frames)
    qpos = np.tile(m.qpos0, (frames, 1))
    low, high = m.jnt_range[m.dof_jntid[model.joint_dofs]].T
    middle = np.clip(m.qpos0[model.joint_qpos], low + 0.2 * (high - low), high - 0.2 * (high - low))
    phase = random.uniform(0, 2 * np.pi, size=len(middle))
    qpos[:, model.joint_qpos] = middle + 0.1 * (high - low) * np.sin(4 * time[:, None] + phase)
    if model.has_free_root:
        qpos = model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
        qpos[:, 2] -= lowest_foot_heights(model, qpos)
    return make_reference(model, qpos, dt, f"sway{seed}")


@pytest.fixture(scope="session")
def arms_references(arms: MuscleModel) -> list[Reference]:
    return [sway(arms, frames, seed) for seed, frames in enumerate(LENGTHS)]


@pytest.fixture(scope="session")
def body_references(body: MuscleModel) -> list[Reference]:
    return [sway(body, frames, seed) for seed, frames in enumerate(LENGTHS)]


@pytest.fixture(scope="session")
def arms_library(arms: MuscleModel, arms_references: list[Reference]) -> ReferenceLibrary:
    return ReferenceLibrary(arms_references, arms)


@pytest.fixture(scope="session")
def body_library(body: MuscleModel, body_references: list[Reference]) -> ReferenceLibrary:
    return ReferenceLibrary(body_references, body)


@pytest.fixture
def make_env(arms, body, arms_library, body_library):
    """`make_env(name, worlds, seed, library, **config)`: an environment of "bimanual" or "myofullbody"."""
    known = {"bimanual": (arms, arms_library), "myofullbody": (body, body_library)}

    def make_env(name="bimanual", worlds=3, seed=0, library=None, **config) -> ImitationEnv:
        model, own = known[name]
        config = {"engine": "native", "initial_activation": 0.05, "terminations": {}, **config}
        config = EnvConfig(model=name, num_worlds=worlds, **config)
        return ImitationEnv(config, seed=seed, model=model, library=library or own)

    return make_env


@pytest.fixture
def act():
    """`act(env, seed)`: random excitations in [0, 1] for every world, as a TensorDict to step with."""

    def act(env: ImitationEnv, seed: int = 0) -> TensorDict:
        generator = torch.Generator().manual_seed(seed)
        action = torch.rand(*env.batch_size, env.model.mj_model.nu, generator=generator)
        return TensorDict({"action": action}, batch_size=env.batch_size)

    return act


@pytest.fixture
def scene():
    """`scene(N, J, S, M, F, K, seed)`: a State and a Target of random but lawful numbers."""

    def scene(N=4, J=5, S=3, M=6, F=2, K=2, seed=0) -> tuple[State, Target]:  # noqa: N803
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=generator)

        def unit(*shape):
            quat = normal(*shape, 4)
            return quat / quat.norm(dim=-1, keepdim=True)

        def motion(*batch):
            sites, speeds = normal(*batch, S, 3), normal(*batch, S, 3)
            return {
                "joint_pos": normal(*batch, J),
                "joint_vel": normal(*batch, J),
                "root_pos": sites[..., 0, :],
                "root_quat": unit(*batch),
                "root_linvel": speeds[..., 0, :],
                "root_angvel": normal(*batch, 3),
                "site_pos": sites,
                "site_vel": speeds,
                "fibre_length": normal(*batch, M),
                "fibre_velocity": normal(*batch, M),
                "activation": normal(*batch, M).sigmoid(),
            }

        def goal(*batch):
            return Goal(**motion(*batch), recorded_pos=normal(*batch, S, 3))

        body = motion(N)
        state = State(
            **body,
            heading=heading(body["root_quat"]),
            excitation=normal(N, M).sigmoid(),
            muscle_force=-100 * normal(N, M).abs(),
            foot_force=100 * normal(N, F, 3),
            foot_cop=normal(N, F, 3),
            foot_contacts=torch.randint(0, 3, (N, F), generator=generator).float(),
            floor_contacts=torch.randint(0, 9, (N,), generator=generator).float(),
        )
        return state, Target(now=goal(N), ahead=goal(N, K))

    return scene


@pytest.fixture
def moved():
    """`moved(x, yaw, shift)`: a State, Goal or Target seen in a world turned about z and shifted on the ground."""
    positions = ("root_pos", "site_pos", "recorded_pos", "foot_cop")
    vectors = ("root_linvel", "root_angvel", "site_vel", "foot_force")

    def moved(x, yaw: float, shift: tuple[float, float]):
        if isinstance(x, Target):
            return Target(now=moved(x.now, yaw, shift), ahead=moved(x.ahead, yaw, shift))
        turn, x = Rotation.from_rotvec([0.0, 0.0, yaw]), x.clone()

        def turned(value):
            return torch.from_numpy(turn.apply(value.double().reshape(-1, 3).numpy())).reshape(value.shape)

        offset = torch.tensor([*shift, 0.0], dtype=torch.float64)
        for key, value in x.items():
            if key in positions:
                setattr(x, key, (turned(value) + offset).float())
            elif key in vectors:
                setattr(x, key, turned(value).float())
            elif key == "heading":  # the first of its columns is the direction ahead
                setattr(x, key, turned(value.mT).mT.float())
            elif key == "root_quat":
                rotation = turn * Rotation.from_quat(value.double().reshape(-1, 4).numpy(), scalar_first=True)
                setattr(x, key, torch.from_numpy(rotation.as_quat(scalar_first=True)).reshape(value.shape).float())
        return x

    return moved


@pytest.fixture
def turned_reference(body):
    """`turned_reference(reference, yaw, shift)`: the same movement in a world turned about z and shifted."""

    def turned_reference(reference: Reference, yaw: float, shift: tuple[float, float]) -> Reference:
        qpos = reference.qpos.copy()
        turn = Rotation.from_rotvec([0.0, 0.0, yaw])
        qpos[:, :3] = turn.apply(qpos[:, :3]) + np.array([*shift, 0.0])
        quat = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
        for row in qpos:
            mujoco.mju_mulQuat(row[3:7], quat, row[3:7].copy())
        return make_reference(body, qpos, reference.dt, reference.name)

    return turned_reference
