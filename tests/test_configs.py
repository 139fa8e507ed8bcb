"""The configs in the repository run as they are: each takes an update, on clips and in worlds that are few."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from musclewarp import train
from musclewarp.envs import imitation
from musclewarp.learning.policy import load_policy
from musclewarp.models import load_model
from musclewarp.references import make_reference
from musclewarp.references.reference import SUFFIX

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
NEEDS = {  # the policy that a config begins with or learns from, and whose it is
    "bimanual_pupil_cpu": ("distill.teacher", "bimanual_targets_cpu"),
    "finetune": ("init_from", "walk_cpu"),
}
WORLDS, HORIZON = 2, 3

pytestmark = pytest.mark.xdist_group("configs")
model_of = cache(load_model)


@pytest.fixture
def update(monkeypatch, tmp_path):
    """`update(name)`: the policy after one update by a config, on a clip in which the body stands nearly still."""
    monkeypatch.setattr(imitation, "load_model", model_of)

    def update(name):
        env = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["env"]
        model = model_of(env["model"], False, imitation.EnvConfig().physics.__class__(**env["physics"]))
        qpos = np.tile(model.mj_model.qpos0, (12, 1))
        qpos[:, model.joint_qpos] += 0.01 * np.sin(np.linspace(0, 3, 12))[:, None]
        refs = tmp_path / env["model"]
        make_reference(model, qpos, model.physics.control_dt, "still").save(refs / f"still{SUFFIX}")
        out, few = (
            tmp_path / name,
            {"env.num_worlds": WORLDS, "ppo.horizon": HORIZON, "ppo.minibatch": WORLDS * HORIZON},
        )
        options = {"env.references": refs, "env.engine": "native", "ppo.total_frames": WORLDS * HORIZON, **few}
        options |= {"out": out, "trainer.accelerator": "cpu"}
        if name in NEEDS:
            key, before = NEEDS[name]
            options[key] = update(before)[1]
        arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        assert train.main(["fit", "--config", str(CONFIGS / f"{name}.yaml"), *arguments]) == 0
        return load_policy(out / "policy.safetensors"), out / "policy.safetensors"

    return update


@pytest.mark.parametrize("name", NAMES)
def test_a_config_takes_an_update(name, update):
    policy, _ = update(name)
    assert policy.frames == WORLDS * HORIZON
    assert policy.clips == ("still",)
    assert all(weight.isfinite().all() for weight in policy.actor.state_dict().values())


@pytest.mark.parametrize("name", NAMES)
def test_a_config_says_what_it_is_and_writes_into_a_folder_of_its_own(name):
    text = (CONFIGS / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert yaml.safe_load(text)["out"] == f"runs/{name}"


def test_configs_for_one_gpu_have_8192_worlds():
    for name in (name for name in NAMES if name.endswith("_gpu")):
        assert yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["env"]["num_worlds"] == 8192
