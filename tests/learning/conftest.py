"""A tiny task: two arms follow a made-up wave of 60 frames in four worlds, with networks of 16 units."""

from __future__ import annotations

import dataclasses

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from musclewarp.envs import EnvConfig, ImitationEnv, RewardConfig, imitation
from musclewarp.learning.config import PPOConfig
from musclewarp.learning.ppo import PPO
from musclewarp.models import PhysicsConfig, load_model
from musclewarp.references import make_reference
from musclewarp.references.reference import SUFFIX

WORLDS, HORIZON = 4, 8


@pytest.fixture(scope="session")
def arms():
    return load_model("bimanual", physics=PhysicsConfig(0.004, 5))


@pytest.fixture(scope="session")
def references(arms, tmp_path_factory):
    """A folder with one reference: both arms wave slowly about the default posture."""
    folder = tmp_path_factory.mktemp("references")
    qpos = np.tile(arms.mj_model.qpos0, (60, 1))
    qpos[:, arms.joint_qpos] += 0.1 * np.sin(np.linspace(0, 6, 60))[:, None]
    make_reference(arms, qpos, 0.02, "wave").save(folder / f"wave{SUFFIX}")
    return folder


@pytest.fixture
def quick_model(arms, monkeypatch):
    """Environments take the session's model instead of compiling it again."""
    monkeypatch.setattr(imitation, "load_model", lambda name, fingers, physics: arms)


@pytest.fixture(scope="session")
def env_config(references):
    return EnvConfig(
        references=str(references),
        num_worlds=WORLDS,
        engine="native",
        episode_seconds=0.5,
        observations=("joint_pos", "joint_vel", "activation", "ahead_joint_pos", "stretch", "stretch_velocity"),
        rewards={"site_position": RewardConfig(1.0, 0.1)},
        terminations={"site_deviation": 0.25},
    )


@pytest.fixture(scope="session")
def config():
    """Five updates of 32 frames."""
    return PPOConfig(
        total_frames=5 * WORLDS * HORIZON,
        horizon=HORIZON,
        minibatch=16,
        epochs=2,
        hidden=(16,),
        learning_rate=3e-4,
        learning_rate_bounds=(1e-5, 1e-2),
    )


@pytest.fixture
def make_env(env_config, quick_model):
    """`make_env(**changes)`: an environment of the tiny task."""

    def make(**changes):
        return ImitationEnv(dataclasses.replace(env_config, **changes))

    return make


@pytest.fixture
def make_ppo(env_config, config, quick_model):
    """`make_ppo(env={}, **changes)`: a learner of the tiny task, before `setup`, with changes of both configs."""

    def make(env=None, **changes):
        return PPO(dataclasses.replace(env_config, **(env or {})), dataclasses.replace(config, **changes))

    return make


@pytest.fixture
def ready(make_ppo):
    """`ready(**changes)`: a learner with its environment and networks, without a Trainer."""

    def make(**changes):
        torch.manual_seed(0)
        module = make_ppo(**changes)
        module.setup("fit")
        return module

    return make


@pytest.fixture
def make_trainer(tmp_path):
    """`make_trainer(*callbacks, **options)`: a Trainer that says nothing and writes nothing by itself."""

    def make(*callbacks, **options):
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        return lightning.Trainer(
            max_epochs=1, accelerator="cpu", callbacks=list(callbacks), default_root_dir=tmp_path, **(quiet | options)
        )

    return make


@pytest.fixture
def at_update():
    """`at_update(n, do)`: a callback that calls `do(trainer, module)` after the n-th update."""

    class AtUpdate(Callback):
        def __init__(self, number, do):
            self.number, self.do = number, do

        def on_train_batch_end(self, trainer, pl_module, *args):
            if pl_module.updates == self.number:
                self.do(trainer, pl_module)

    return AtUpdate


@pytest.fixture
def fit(make_ppo, make_trainer):
    """`fit(*callbacks, seed=0, ckpt_path=None, max_time=None, **changes)`: train the tiny task, return the learner."""

    def run(*callbacks, seed=0, ckpt_path=None, max_time=None, **changes):
        torch.manual_seed(seed)
        module = make_ppo(**changes)
        make_trainer(*callbacks, max_time=max_time).fit(module, ckpt_path=ckpt_path)
        return module

    return run
