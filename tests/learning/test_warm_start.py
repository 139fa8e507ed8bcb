"""A policy goes on where another one stopped: on other clips, or in a body whose parts have the same names."""

from __future__ import annotations

import dataclasses

import lightning
import numpy as np
import pytest
import torch

from musclewarp.envs import ControlConfig, imitation
from musclewarp.errors import ConfigError
from musclewarp.learning import normalization
from musclewarp.learning.callbacks import Checkpoints
from musclewarp.learning.distillation import Pupil
from musclewarp.learning.policy import load_policy
from musclewarp.learning.warm_start import take_over
from musclewarp.models import PhysicsConfig, load_model
from musclewarp.references import make_reference
from musclewarp.references.reference import SUFFIX


@pytest.fixture(scope="session")
def with_fingers():
    return load_model("bimanual", fingers=True, physics=PhysicsConfig(0.004, 5))


@pytest.fixture
def both_bodies(arms, with_fingers, monkeypatch):
    """Environments take the session's models instead of compiling them again."""
    monkeypatch.setattr(imitation, "load_model", lambda name, fingers, physics: with_fingers if fingers else arms)


@pytest.fixture
def finger_refs(with_fingers, tmp_path):
    qpos = np.tile(with_fingers.mj_model.qpos0, (60, 1))
    make_reference(with_fingers, qpos, 0.02, "rest").save(tmp_path / "fingers" / f"rest{SUFFIX}")
    return {"fingers": True, "references": str(tmp_path / "fingers")}


@pytest.fixture
def run(env_config, config, both_bodies, make_trainer, tmp_path):
    """`run(name, init_from="", updates=2, env={}, **changes)`: a pupil after its training into `tmp_path / name`."""

    def run(name, init_from="", updates=2, env=None, **changes):
        lightning.seed_everything(0, verbose=False)
        changes = {"total_frames": 32 * updates, **changes}
        task, ppo = dataclasses.replace(env_config, **(env or {})), dataclasses.replace(config, **changes)
        pupil = Pupil(task, ppo, init_from=str(init_from))
        make_trainer(Checkpoints(tmp_path / name)).fit(pupil)
        return pupil

    return run


@pytest.fixture
def ready_for(env_config, config, both_bodies):
    """`ready_for(env={}, **changes)`: a learner that has not begun."""

    def ready_for(env=None, **changes):
        torch.manual_seed(1)
        module = Pupil(dataclasses.replace(env_config, **(env or {})), dataclasses.replace(config, **changes))
        module.setup("fit")
        return module

    return ready_for


def test_the_same_task_goes_on_with_the_same_policy_and_critic_and_all_else_anew(run, ready_for, tmp_path):
    before = run("before")
    module = ready_for(initial_std=0.4)
    told, fresh = take_over(module, tmp_path / "before" / "last.ckpt")
    seen = 100 * torch.randn(5, module.sizes["observations"])
    with torch.no_grad():
        assert torch.equal(module.head(seen)[0], before.head(seen)[0])
        assert torch.equal(module.value_head.value(seen), before.value_head.value(seen))
        assert torch.allclose(module.head(seen)[1], torch.tensor(0.4))
    assert (module.frames, module.updates, bool(fresh["observation"].any())) == (0, 0, False)
    assert "64 frames of learning on 'bimanual'" in told
    assert "its critic comes along" in told
    assert "carried over" not in told


def test_a_policy_to_share_has_no_critic_and_another_discount_another_one(run, ready_for, tmp_path):
    before = run("before")
    for path, changes in (("policy.safetensors", {}), ("last.ckpt", {"gamma": 0.5})):
        module = ready_for(**changes)
        values = [weight.clone() for weight in module.value_head.network.parameters()]
        told, _ = take_over(module, tmp_path / "before" / path)
        assert "the critic begins anew" in told
        assert all(torch.equal(a, b) for a, b in zip(values, module.value_head.network.parameters(), strict=True))
        assert torch.equal(module.head.network[-1].weight, before.head.network[-1].weight)


def test_in_a_body_with_fingers_what_has_the_same_name_acts_as_before(
    run, ready_for, arms, with_fingers, finger_refs, tmp_path
):
    before = run("before")
    module = ready_for(env=finger_refs)
    begun = module.head.network[-1].weight.detach().clone()
    told, fresh = take_over(module, tmp_path / "before" / "last.ckpt")
    muscles = {name: i for i, name in enumerate(with_fingers.muscles.index)}
    joints = {with_fingers.dof_names[dof]: i for i, dof in enumerate(with_fingers.joint_dofs)}
    m, j = (torch.tensor([of[name] for name in names]) for of, names in (
        (muscles, list(arms.muscles.index)),
        (joints, [arms.dof_names[dof] for dof in arms.joint_dofs]),
    ))  # fmt: skip
    parts, start = [], 0
    for kind in ("joints", "joints", "muscles", *["joints"] * 3, "muscles", "muscles"):  # the terms of `env_config`
        parts.append(start + (j if kind == "joints" else m))
        start += len(joints if kind == "joints" else muscles)
    columns = torch.cat(parts)
    seen = torch.randn(5, module.sizes["observations"])
    with torch.no_grad():
        ours, theirs = module.head(seen)[0], before.head(seen[:, columns])[0]
        torch.testing.assert_close(ours[:, m], theirs)
        torch.testing.assert_close(module.value_head.value(seen), before.value_head.value(seen[:, columns]))
    new = torch.ones(len(muscles), dtype=torch.bool).index_fill(0, m, False)
    assert torch.equal(module.head.network[-1].weight[new], begun[new])
    assert fresh["observation"].sum() == len(fresh["observation"]) - len(columns)
    assert not fresh["observation"][columns].any()
    assert f"the body is another one ({arms.hash[:8]}, now {with_fingers.hash[:8]})" in told
    assert f"64 of {len(muscles)} numbers of the action are carried over" in told


def test_a_run_in_another_body_learns_and_knows_the_scale_of_what_is_new(run, finger_refs, tmp_path):
    run("before", updates=1)
    pupil = run("after", tmp_path / "before" / "policy.safetensors", updates=1, env=finger_refs)
    assert pupil.frames == 32
    activation = pupil.env.observation_columns("activation")
    assert (pupil.normalizer.var[activation] < 0.1).all(), (
        "activations lie in [0, 1]: a new column began with variance 1"
    )


def test_a_run_that_goes_on_does_not_begin_again(run, make_trainer, env_config, config, tmp_path, capsys):
    run("before", updates=1)
    run("after", tmp_path / "before" / "last.ckpt", updates=1)
    assert capsys.readouterr().out.count("begins with") == 1
    ppo = dataclasses.replace(config, total_frames=64)
    pupil = Pupil(env_config, ppo, init_from=str(tmp_path / "gone.ckpt"))
    make_trainer().fit(pupil, ckpt_path=str(tmp_path / "after" / "last.ckpt"))
    assert pupil.frames == 64
    assert load_policy(tmp_path / "after" / "policy.safetensors").frames == 32
    assert "begins with" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("env", "changes", "named"),
    [
        ({"lookahead": (1, 2)}, {}, r"env\.lookahead is \(1, 2\), .* has learned with \(1, 3, 8\)"),
        ({"observations": ("joint_pos",)}, {}, r"env\.observations is"),
        ({"control": ControlConfig(mode="joint_targets")}, {}, r"env\.control\.mode is joint_targets"),
        ({}, {"hidden": (8,)}, r"ppo\.hidden is \(8,\), .* has learned with \(16,\); set that"),
    ],
)
def test_another_task_is_refused_by_key(run, ready_for, tmp_path, env, changes, named):
    run("before", updates=1)
    module = ready_for(env=env, **changes)
    before = [weight.clone() for weight in module.actor.state_dict().values()]
    with pytest.raises(ConfigError, match=named):
        take_over(module, tmp_path / "before" / "last.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(before, module.actor.state_dict().values(), strict=True))


def test_a_policy_of_another_version_of_its_body_is_refused(run, ready_for, tmp_path):
    run("before", updates=1)
    policy = load_policy(tmp_path / "before" / "policy.safetensors")
    seen = policy.sizes["observations"] - 1
    module = Pupil(policy.env, policy.ppo)
    module.build(seen, policy.sizes["muscles"], policy.sizes["columns"])
    older = dataclasses.replace(policy, actor=module.actor, sizes=module.sizes)
    path = older.save(tmp_path / "older.safetensors")
    with pytest.raises(
        ConfigError, match=rf"sees {seen} and moves 64 numbers, .*another version of musclemimic-models"
    ):
        take_over(ready_for(), path)


def test_columns_that_begin_anew_forget_and_the_others_do_not():
    normalizer, both = normalization.ObservationNormalizer(2), torch.randn(100, 2)
    normalizer.update(both)
    batch = 3.0 + 5.0 * torch.randn(50, 2)
    plain = normalization.ObservationNormalizer(2)
    plain.load_state_dict(normalizer.state_dict())
    plain.update(batch)
    normalizer.update(batch, torch.tensor([False, True]))
    assert torch.equal(normalizer.mean[0], plain.mean[0])
    assert torch.equal(normalizer.var[0], plain.var[0])
    np.testing.assert_allclose(normalizer.mean[1], batch[:, 1].double().mean(), rtol=1e-12)
    np.testing.assert_allclose(normalizer.var[1], batch[:, 1].double().var(correction=0), rtol=1e-12)
