"""Two arms with three clips of unlike lengths, an untrained policy, and trials of three frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclewarp.envs import EnvConfig
from musclewarp.evaluation.trial import Trial
from musclewarp.learning.config import PPOConfig
from musclewarp.learning.policy import Policy
from musclewarp.learning.ppo import PPO
from musclewarp.models import load_model
from musclewarp.references import make_reference
from musclewarp.references.library import ReferenceLibrary

LENGTHS = {"slow": 12, "quick": 7, "wide": 20}


@pytest.fixture(scope="session")
def arms():
    return load_model("bimanual")


@pytest.fixture(scope="session")
def clips(arms):
    """References that wave by unlike angles, for `LENGTHS` frames."""
    made = []
    for amplitude, (name, frames) in zip((0.05, 0.1, 0.2), LENGTHS.items(), strict=True):
        qpos = np.tile(arms.mj_model.qpos0, (frames, 1))
        qpos[:, arms.joint_qpos] += amplitude * np.sin(np.linspace(0, 3, frames))[:, None]
        made.append(make_reference(arms, qpos, 0.02, name))
    return made


@pytest.fixture(scope="session")
def library(arms, clips):
    return ReferenceLibrary(clips, arms)


@pytest.fixture(scope="session")
def config():
    return EnvConfig(num_worlds=2, engine="native", observations=("joint_pos", "joint_vel", "ahead_joint_pos"))


@pytest.fixture(scope="session")
def policy(arms, config):
    """A policy that has learned nothing, for nothing here is about learning."""
    ppo = PPOConfig(hidden=(8,))
    module = PPO(config, ppo)
    joints = len(arms.joint_dofs)
    torch.manual_seed(3)
    module.build(joints * (2 + len(config.lookahead)), arms.mj_model.nu, {})
    return Policy(module.actor.eval(), config, ppo, module.sizes, arms.hash, 0)


@pytest.fixture
def make_trial():
    """`make_trial(failed_at, frames, seed)`: random numbers in the place of a recording, three sites, two joints."""

    def make(failed_at=-1, frames=3, seed=0):
        random = np.random.default_rng(seed)
        shapes = dict.fromkeys(("site_pos", "reference_site_pos", "recorded_site_pos"), (3, 3))
        shapes |= dict.fromkeys(("joint_pos", "joint_vel", "reference_joint_pos", "reference_joint_vel"), (2,))
        shapes |= {"qpos": (4,), "qvel": (4,)}
        arrays = {key: random.normal(size=(frames, *shape)).astype(np.float32) for key, shape in shapes.items()}
        names = {"muscles": ("biceps",), "joints": ("elbow", "wrist"), "sites": ("root", "elbow", "hand"), "feet": ()}
        return Trial(
            "clip", "policy", "bimanual", "abc", 0.02, **names, failed_at=failed_at, arrays=arrays, source={"a": 1}
        )

    return make
