"""Lessons from a teacher: what is asked, who acts, what is learned, and that PPO goes on from there."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from musclewarp.envs import ControlConfig
from musclewarp.envs.control import make_control
from musclewarp.errors import ConfigError, FileError
from musclewarp.learning.callbacks import Checkpoints
from musclewarp.learning.config import PPOConfig
from musclewarp.learning.distillation import DistillConfig, Pupil, Teacher
from musclewarp.learning.policy import Policy, load_policy
from musclewarp.models import PhysicsConfig

TARGETS = {"control": ControlConfig(mode="joint_targets")}
SEEN = ("joint_pos", "joint_vel", "ahead_joint_pos")  # less than what the pupil sees
UPDATE = 32  # frames
PHYSICS = PhysicsConfig(0.005, 4)


def policy_of(module):
    return Policy(module.actor.eval(), module.env_config, module.config, module.sizes, module.env.model.hash, 0)


@pytest.fixture
def make_teacher(ready, tmp_path):
    """`make_teacher(spread, env={})`: the file of a policy on joint targets with random weights, and the policy."""

    def make(spread=0.3, env=None):
        module = ready(env={"observations": SEEN, **TARGETS, **(env or {})}, hidden=(8,))
        module.head.network[-1].weight.data.normal_(0, spread)
        return policy_of(module).save(tmp_path / "teacher.safetensors"), policy_of(module)

    return make


@pytest.fixture
def learn(env_config, config, quick_model, make_trainer):
    """`learn(teacher, *callbacks, distill={}, env={}, ckpt_path=None, **changes)`: a pupil after its training."""

    def run(teacher, *callbacks, distill=None, env=None, ckpt_path=None, **changes):
        torch.manual_seed(0)
        distill = DistillConfig(str(teacher), **{"frames": 3 * UPDATE, **(distill or {})}) if teacher else None
        pupil = Pupil(dataclasses.replace(env_config, **(env or {})), dataclasses.replace(config, **changes), distill)
        make_trainer(*callbacks).fit(pupil, ckpt_path=ckpt_path)
        return pupil

    return run


class Record(Callback):
    """After every update: what was told, whether a teacher was there, the optimiser's memory."""

    def __init__(self):
        self.rows, self.taught, self.memories, self.alone = [], [], [], []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.rows.append({key: float(value) for key, value in trainer.callback_metrics.items()})
        self.taught.append(pl_module.lessons is not None)
        self.memories.append(len(trainer.optimizers[0].state))
        self.alone.append(pl_module.acts_alone)


@pytest.mark.parametrize("engine", ["native", pytest.param("warp", marks=pytest.mark.slow)])
def test_the_teacher_answers_with_what_its_own_environment_would_excite(engine, make_env, make_teacher):
    """Two environments side by side: in the first the teacher acts by itself, in the second by its excitations."""
    _, policy = make_teacher()
    own = make_env(observations=SEEN, engine=engine, **TARGETS)
    other = make_env(engine=engine)
    teacher = Teacher(policy, other)
    here, there = own.reset(), other.reset()
    for _ in range(30):  # episodes end within
        here["action"] = policy.act(here["observation"])
        there["action"] = teacher()
        (step, here), (_, there) = own.step_and_maybe_reset(here), other.step_and_maybe_reset(there)
        torch.testing.assert_close(own.engine.ctrl, other.engine.ctrl, rtol=0, atol=1e-6)
    assert (own.steps == other.steps).all()
    assert (own.steps < 30).any()
    assert step["next", "site_error"].max() > 0.01


def test_asking_changes_no_world(make_env, make_teacher):
    _, policy = make_teacher()
    env = make_env()
    teacher = Teacher(policy, env)
    env.reset()
    before = env.snapshot()
    teacher()
    assert all(torch.equal(value, before[key]) for key, value in env.snapshot().items())


def test_a_teacher_that_is_a_linear_function_is_recovered(ready, learn, monkeypatch):
    """No muscles are solved for here: what the teacher says is the sigmoid of a linear function of the observation."""
    module = ready()
    size, muscles = module.sizes["observations"], module.sizes["muscles"]
    weight = torch.randn(muscles, size, generator=torch.Generator().manual_seed(1)) / size**0.5
    scale = module.rollouts.collect(8)["observation"].flatten(0, 1)
    mean, std = scale.mean(0), scale.std(0) + 1e-3

    class Linear(Teacher):
        def __init__(self, policy, env):
            self.control, self.env = make_control(ControlConfig(), env.engine, env.library), env

        def __call__(self):
            seen = (self.env.see(self.env.config.observations) - mean) / std
            return (seen.clamp(-3, 3) @ weight.T).sigmoid()

    monkeypatch.setattr("musclewarp.learning.distillation.Teacher", Linear)
    monkeypatch.setattr("musclewarp.learning.distillation.load_policy", lambda path: None)
    record = Record()
    frames = 30 * UPDATE
    learn("linear", record, distill={"frames": frames}, total_frames=frames, hidden=(64,))
    errors = [row["teacher_error"] for row in record.rows]
    assert errors[0] > 0.1
    assert errors[-1] < 0.25 * errors[0]


def test_the_teacher_hands_over(make_teacher, learn):
    path, _ = make_teacher()
    record = Record()
    learn(path, record, distill={"frames": 4 * UPDATE, "handover": 0.75})
    assert [row["teacher_share"] for row in record.rows[:4]] == pytest.approx([1, 2 / 3, 1 / 3, 0], abs=1e-6)
    assert record.alone == [False] * 3 + [True] * 2


def test_a_pupil_tracks_better_than_before_its_lessons(make_teacher, learn):
    """Its teacher asks the joints to follow the reference, and gets there as far as muscles do; the pupil is tense."""
    path, _ = make_teacher(spread=0.0)
    worlds, frames = 16, 6 * 16 * 16
    pupil = learn(
        path, distill={"frames": frames}, env={"num_worlds": worlds},
        total_frames=frames, horizon=16, minibatch=64, hidden=(64,), initial_excitation=0.5, reflex=0.0,
    )  # fmt: skip
    policy, env, errors = policy_of(pupil), pupil.env, []
    for acting in (policy, policy.untrained()):
        current, steps = env.reset_to(torch.zeros(worlds, dtype=torch.int64), torch.arange(worlds) // 2), []
        for _ in range(50):
            current["action"] = acting.act(current["observation"])
            current = env.step(current)["next"]
            steps.append(current["site_error"])
        errors.append(float(torch.stack(steps).mean()))
    assert errors[0] < 0.75 * errors[1]


def test_ppo_goes_on_where_lessons_end(make_teacher, learn, config):
    path, _ = make_teacher()
    record = Record()
    pupil = learn(path, record)
    assert record.taught == [True, True, False, False, False]
    assert [row["learning_rate"] for row in record.rows[:2]] == pytest.approx([1e-3] * 2)
    assert record.rows[2]["learning_rate"] == pytest.approx(1e-3)  # the last lesson's own
    assert record.memories[1] > 0 == record.memories[2] < record.memories[3]
    assert all(row["kl"] > 0 for row in record.rows[3:])
    low, high = config.learning_rate_bounds
    assert low <= record.rows[3]["learning_rate"] <= min(high, 1.5 * config.learning_rate + 1e-9)
    assert pupil.frames == config.total_frames
    assert not [key for key in pupil.state_dict() if "teacher" in key or "lessons" in key]


def test_without_a_teacher_a_pupil_is_ppo(learn, fit):
    pupil, plain = learn(None), fit()
    other = plain.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in pupil.state_dict().items())


@pytest.mark.parametrize("stopped", [1, 2, 3, 4])
def test_lessons_and_ppo_go_on_bit_by_bit(stopped, make_teacher, learn, at_update, tmp_path):
    """Stopped within the lessons, at their end, and after them."""
    path, _ = make_teacher()
    whole = learn(path, env={"episode_seconds": 0.1})

    def stop(trainer, module):
        trainer.should_stop = True

    folder = tmp_path / "run"
    learn(path, Checkpoints(folder), at_update(stopped, stop), env={"episode_seconds": 0.1})
    if stopped > 3:
        path.unlink()  # nobody needs it any more
    again = learn(path, env={"episode_seconds": 0.1}, ckpt_path=folder / "last.ckpt")
    other = again.state_dict()
    assert [key for key, value in whole.state_dict().items() if not torch.equal(value, other[key])] == []
    assert again.frames == whole.frames


def test_best_is_not_the_teachers(make_teacher, learn, tmp_path):
    path, _ = make_teacher()
    folder = tmp_path / "run"
    learn(path, Checkpoints(folder), distill={"handover": 1.0}, total_frames=3 * UPDATE)
    assert not (folder / "best.ckpt").exists()
    assert load_policy(folder / "policy.safetensors").frames == 3 * UPDATE
    learn(path, Checkpoints(tmp_path / "longer"), distill={"handover": 1.0})
    assert (tmp_path / "longer" / "best.ckpt").exists()


def test_a_run_does_not_take_or_lose_a_teacher_on_its_way(make_teacher, learn, tmp_path):
    path, _ = make_teacher()
    short = {"total_frames": 2 * UPDATE}
    for name, teacher in (("with", path), ("without", None)):
        learn(teacher, Checkpoints(tmp_path / name), **short)
    for name, teacher in (("with", None), ("without", path)):
        with pytest.raises(ConfigError, match=r"distill\.teacher.*--out"):
            learn(teacher, ckpt_path=tmp_path / name / "last.ckpt")
    learn(path, Checkpoints(tmp_path / "over"), total_frames=4 * UPDATE)
    assert learn(None, ckpt_path=tmp_path / "over" / "last.ckpt").frames == 5 * UPDATE


def test_a_teacher_of_another_model_or_time_is_refused(make_teacher, make_env):
    _, policy = make_teacher()
    env = make_env()
    for wrong, reason in (
        (dataclasses.replace(policy, model_hash="0" * 64), "another model.*'bimanual'"),
        (dataclasses.replace(policy, env=dataclasses.replace(policy.env, lookahead=(1, 2))), r"env\.lookahead"),
        (dataclasses.replace(policy, env=dataclasses.replace(policy.env, physics=PHYSICS)), r"env\.physics"),
    ):
        with pytest.raises(ConfigError, match=reason):
            Teacher(wrong, env)


def test_a_missing_teacher_is_named(learn, tmp_path):
    with pytest.raises(FileError, match=r"nobody\.safetensors"):
        learn(tmp_path / "nobody.safetensors")


def test_joint_targets_are_not_taught(make_ppo):
    targets = dataclasses.replace(make_ppo().env_config, **TARGETS)
    with pytest.raises(ConfigError, match=r"env\.control\.mode.*distill\.teacher"):
        Pupil(targets, PPOConfig(), DistillConfig("teacher.safetensors"))


@pytest.mark.parametrize(
    ("name", "value"), [("frames", 0), ("epochs", 0), ("learning_rate", float("nan")), ("handover", 1.5)]
)
def test_a_bad_number_of_lessons_names_its_key(name, value):
    with pytest.raises(ConfigError, match=rf"distill\.{name}"):
        DistillConfig("teacher.safetensors", **{name: value})


def test_lessons_without_a_teacher_are_refused():
    with pytest.raises(ConfigError, match=r"distill\.frames.*distill\.teacher"):
        DistillConfig(frames=5)
