"""Checkpoints: what is in them, that training goes on from them bit by bit, and that every way out leaves one."""

from __future__ import annotations

import dataclasses
import pickle
import signal

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback

from musclewarp.envs import (
    ControlConfig,
    NeuralConfig,
    PushConfig,
    SamplingConfig,
    TighteningConfig,
    VariationConfig,
)
from musclewarp.errors import ConfigError, FileError, SimulationError
from musclewarp.learning import ppo
from musclewarp.learning.callbacks import Checkpoints
from musclewarp.learning.checkpoints import CheckpointConfig
from musclewarp.learning.policy import load_policy
from musclewarp.learning.rollouts import Rollouts
from musclewarp.references import make_reference
from musclewarp.references.library import load_library
from musclewarp.references.reference import SUFFIX


class Bomb:
    """Calls `open(path, "w")` when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def leaves(value):
    """Everything inside nested dicts, lists and tuples, keys included."""
    if isinstance(value, dict):
        return [leaf for pair in value.items() for part in pair for leaf in leaves(part)]
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def stop(trainer, module):
    trainer.should_stop = True


def everything(module):
    """What decides how training goes on: weights and statistics, optimisers, step sizes, the worlds, the counters."""
    optimizers = [optimizer.state_dict() for optimizer in module.trainer.optimizers]
    return {
        **module.state_dict(),
        **{
            f"optimizer.{i}.{k}.{name}": value
            for i, optimizer in enumerate(optimizers)
            for k, state in optimizer["state"].items()
            for name, value in state.items()
        },
        **{f"world.{name}": value for name, value in module.final_worlds.items()},
        "lr": torch.tensor([optimizer["param_groups"][0]["lr"] for optimizer in optimizers]),
        "counters": torch.tensor([module.frames, module.updates]),
    }


@pytest.fixture
def keep_worlds(at_update):
    """`keep_worlds(n)`: a callback that keeps the worlds after update n."""
    return lambda number: at_update(number, lambda _, module: setattr(module, "final_worlds", module.env.snapshot()))


@pytest.fixture
def written(fit, at_update, tmp_path):
    """A folder that a training run of two updates left."""
    fit(Checkpoints(tmp_path / "run"), at_update(2, stop))
    return tmp_path / "run"


def test_checkpoints_load_with_weights_only_and_hold_tensors_and_primitives_alone(written):
    checkpoint = torch.load(written / "last.ckpt", weights_only=True)
    kinds = {type(leaf) for leaf in leaves(checkpoint)}
    assert kinds <= {torch.Tensor, str, int, float, bool, type(None)}
    assert checkpoint["musclewarp"]["updates"] == 2


def test_checkpoints_carry_config_model_hash_and_cursors(written, env_config, config, arms):
    saved = torch.load(written / "last.ckpt", weights_only=True)["musclewarp"]
    assert saved["env"] == dataclasses.asdict(env_config)
    assert saved["ppo"] == dataclasses.asdict(config)
    assert saved["model_hash"] == arms.hash
    assert {"clip", "frame", "steps", "draws", "qpos", "qacc_warmstart"} <= set(saved["worlds"])


@pytest.mark.parametrize("first", [1, 3])
def test_n_and_m_updates_equal_n_save_load_m_bit_by_bit(first, fit, keep_worlds, at_update, tmp_path):
    whole = fit(keep_worlds(5))
    fit(Checkpoints(tmp_path), at_update(first, stop))
    resumed = fit(keep_worlds(5), ckpt_path=tmp_path / "last.ckpt")
    expected, found = everything(whole), everything(resumed)
    assert expected.keys() == found.keys()
    different = [key for key, value in expected.items() if not torch.equal(value, found[key])]
    assert not different
    assert resumed.updates == 5


def practice(**changes):
    """An environment that practises, with limits so tight that episodes fail."""
    return {
        "terminations": {"site_deviation": 0.03},
        "sampling": SamplingConfig(floor=0.3, segment_seconds=0.2, rate=0.2),
        "tightening": TighteningConfig(loosest=1.5, tightest=0.5, low=0.95, high=0.96),
        "pushes": PushConfig(force=(5.0, 20.0), seconds=0.04, interval=0.1, body="humerus_r"),
        **changes,
    }


def test_what_is_practised_goes_on_bit_by_bit(fit, keep_worlds, at_update, tmp_path):
    changes = {"env": practice()}
    whole = fit(keep_worlds(5), **changes)
    fit(Checkpoints(tmp_path), at_update(3, stop), **changes)
    resumed = fit(keep_worlds(5), ckpt_path=tmp_path / "last.ckpt", **changes)
    expected, found = everything(whole), everything(resumed)
    assert not [key for key, value in expected.items() if not torch.equal(value, found[key])]
    assert 0 < whole.env.starts.rates.min() < whole.env.starts.rates.max()
    assert whole.env.tightening.scale < 1.5


@pytest.fixture(scope="session")
def waves(arms, tmp_path_factory):
    """A folder of six references of 12 frames, and the MB that three of them take."""
    folder = tmp_path_factory.mktemp("waves")
    for number in range(6):
        qpos = np.tile(arms.mj_model.qpos0, (12, 1))
        qpos[:, arms.joint_qpos] += 0.02 * (number + 1) * np.sin(np.linspace(0, 2, 12))[:, None]
        make_reference(arms, qpos, 0.02, f"wave{number}").save(folder / f"wave{number}{SUFFIX}")
    return str(folder), load_library(folder, arms).nbytes / 2 / 1e6


def test_clips_that_come_and_go_do_so_bit_by_bit(fit, keep_worlds, at_update, waves, tmp_path):
    folder, megabytes = waves
    changes = {"env": practice(references=folder, library_mb=megabytes)}
    held = []
    look = LambdaCallback(on_train_batch_start=lambda trainer, module, *_: held.append(module.env.library.held))
    whole = fit(keep_worlds(5), look, **changes)
    assert not torch.equal(held[0], held[-1])
    assert all(x.sum() <= 3 for x in held)
    fit(Checkpoints(tmp_path), at_update(3, stop), **changes)
    resumed = fit(keep_worlds(5), ckpt_path=tmp_path / "last.ckpt", seed=5, **changes)
    expected, found = everything(whole), everything(resumed)
    assert not [key for key, value in expected.items() if not torch.equal(value, found[key])]
    for other in (0.8 * megabytes, 0.0):  # the worlds' clips may not fit, or nothing is exchanged any more
        env = practice(references=folder, library_mb=other)
        with pytest.warns(UserWarning, match="new episodes begin"):
            assert fit(ckpt_path=tmp_path / "last.ckpt", env=env).updates == 5


@pytest.mark.parametrize("other", ["worlds", "segments"])
def test_more_worlds_go_on_with_what_is_known_to_fail(other, fit, at_update, tmp_path):
    first = fit(Checkpoints(tmp_path), at_update(3, stop), env=practice())
    known = []
    look = LambdaCallback(on_train_batch_start=lambda trainer, module, *_: known.append(module.env.starts.rates))
    changes = {"num_worlds": 6} | ({"sampling": SamplingConfig(0.3, 0.5)} if other == "segments" else {})
    with pytest.warns(UserWarning, match="new episodes begin"):
        again = fit(look, ckpt_path=tmp_path / "last.ckpt", env=practice(**changes))
    kept = first.env.starts.rates
    assert torch.equal(known[0], torch.ones(3).double() if other == "segments" else kept)
    assert again.updates > 3


def test_noise_with_a_memory_and_the_scale_of_values_go_on_bit_by_bit(fit, keep_worlds, at_update, tmp_path):
    changes = {"noise_memory": 0.2, "normalize_values": True, "optimizer": "muon", "hidden": (8, 8, 8)}
    changes["env"] = {"critic_observations": ("muscle_force",)}
    whole = fit(keep_worlds(5), **changes)
    fit(Checkpoints(tmp_path), at_update(3, stop), **changes)
    resumed = fit(keep_worlds(5), ckpt_path=tmp_path / "last.ckpt", **changes)
    expected, found = everything(whole), everything(resumed)
    assert not [key for key, value in expected.items() if not torch.equal(value, found[key])]


def test_training_resumes_bit_by_bit_whatever_seed_the_second_process_has(fit, keep_worlds, at_update, tmp_path):
    whole = fit(keep_worlds(5))
    fit(Checkpoints(tmp_path), at_update(3, stop))
    resumed = fit(keep_worlds(5), ckpt_path=tmp_path / "last.ckpt", seed=99)
    expected, found = everything(whole), everything(resumed)
    assert not [key for key, value in expected.items() if not torch.equal(value, found[key])]


def test_training_resumes_from_a_checkpoint_written_between_updates(fit, keep_worlds, at_update, tmp_path):
    whole = fit(keep_worlds(5))

    def fail(trainer, module):
        raise SimulationError("stop here")

    with pytest.raises(SimulationError):
        fit(Checkpoints(tmp_path, CheckpointConfig(frames=1)), at_update(2, fail))
    resumed = fit(keep_worlds(5), ckpt_path=tmp_path / "last.ckpt")
    expected, found = everything(whole), everything(resumed)
    assert not [key for key, value in expected.items() if not torch.equal(value, found[key])]


def test_joint_targets_resume_bit_by_bit_and_only_as_such(fit, keep_worlds, at_update, tmp_path):
    targets = {"control": ControlConfig(mode="joint_targets")}
    whole = fit(keep_worlds(5), env=targets)
    fit(Checkpoints(tmp_path), at_update(2, stop), env=targets)
    resumed = fit(keep_worlds(5), ckpt_path=tmp_path / "last.ckpt", env=targets)
    expected, found = everything(whole), everything(resumed)
    assert "world.control.multipliers" in expected
    assert not [key for key, value in expected.items() if not torch.equal(value, found[key])]
    with pytest.raises(ConfigError, match=r"env\.control"):
        fit(ckpt_path=tmp_path / "last.ckpt")


def test_a_finished_run_goes_on_when_given_more_frames(fit, config, tmp_path):
    finished = fit(Checkpoints(tmp_path))
    more = fit(ckpt_path=tmp_path / "last.ckpt", total_frames=2 * config.total_frames)
    assert (finished.updates, more.updates) == (5, 10)
    assert more.frames == 2 * finished.frames
    assert not torch.equal(finished.head.network[0].weight, more.head.network[0].weight)


def test_a_finished_run_stays_finished(fit, tmp_path):
    finished = fit(Checkpoints(tmp_path))
    again = fit(ckpt_path=tmp_path / "last.ckpt")
    assert again.updates == finished.updates
    assert torch.equal(finished.head.network[0].weight, again.head.network[0].weight)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_decay_as_the_config_says_also_after_a_resumption(optimizer, fit, at_update, tmp_path):
    changes = {"optimizer": optimizer, "hidden": (8, 8, 8)}
    whole = fit(weight_decay=0.3, **changes)
    fit(Checkpoints(tmp_path), at_update(2, stop), **changes)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["optimizer_states"]
    assert not any(group["weight_decay"] for state in saved for group in state["param_groups"])
    resumed = fit(at_update(3, stop), ckpt_path=tmp_path / "last.ckpt", weight_decay=0.3, **changes)
    expected, found = (
        [[group["weight_decay"] for group in each.param_groups] for each in module.trainer.optimizers]
        for module in (whole, resumed)
    )
    assert found == expected
    assert {decay for groups in found for decay in groups} == {0.0, 0.3}


CHANGES = [  # key, its new value, and both values as the message shows them
    ("ppo.hidden", (8,), "[8]", "[16]"),
    ("ppo.learn_std", True, "true", "false"),
    ("ppo.gamma", 0.95, "0.95", "0.9"),
    ("ppo.initial_excitation", 0.2, "0.2", "0.12"),
    ("env.lookahead", (2, 6, 16), "[2, 6, 16]", "[1, 3, 8]"),
    (
        "env.observations",
        ("joint_vel", "joint_pos", "activation", "ahead_joint_pos", "stretch", "stretch_velocity"),
        '"joint_vel", "joint_pos"',
        '"joint_pos", "joint_vel"',
    ),
]


@pytest.mark.parametrize(("key", "value", "now", "before"), CHANGES, ids=[change[0] for change in CHANGES])
def test_what_the_weights_depend_on_cannot_change_and_the_files_stay(key, value, now, before, written, fit):
    files = {path: path.read_bytes() for path in written.iterdir()}
    group, name = key.split(".")
    changes = {name: value} if group == "ppo" else {"env": {name: value}}
    with pytest.raises(ConfigError) as refusal:
        fit(Checkpoints(written), ckpt_path=written / "last.ckpt", **changes)
    mine, its = str(refusal.value).split(" but ")
    assert mine.startswith(f"{key} is ")
    assert now in mine
    assert before in its
    assert {path: path.read_bytes() for path in written.iterdir()} == files


@pytest.mark.parametrize("hook", ["on_fit_start", "on_train_start"])
def test_a_resumption_that_fails_at_its_start_leaves_the_files_as_they_are(hook, written, fit):
    files = {path: path.read_bytes() for path in written.iterdir()}

    def fail(trainer, module):
        assert module.updates == 2
        raise SimulationError("no memory")

    with pytest.raises(SimulationError, match="no memory"):
        fit(LambdaCallback(**{hook: fail}), Checkpoints(written), ckpt_path=written / "last.ckpt")
    assert {path: path.read_bytes() for path in written.iterdir()} == files


def test_max_time_is_that_of_the_resumed_run(fit, at_update, tmp_path):
    fit(Checkpoints(tmp_path), at_update(2, stop), max_time={"hours": 1})
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    checkpoint["callbacks"]["Timer"]["time_elapsed"]["train"] = 3600.0
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert fit(ckpt_path=tmp_path / "last.ckpt", max_time={"hours": 1}).updates == 5


@pytest.fixture
def first_steps(monkeypatch):
    """Observations and noise of the first step of every `Rollouts.collect`."""
    plain, seen = Rollouts.collect, []

    def spy(self, steps):
        rollout = plain(self, steps)
        observation, action = rollout["observation"][:, 0], rollout["action"][:, 0]
        with torch.no_grad():
            loc, scale = self.policy.get_dist(rollout[:, 0]).loc, self.policy.get_dist(rollout[:, 0]).scale
        seen.append((observation.clone(), (torch.logit(action) - loc) / scale))
        return rollout

    monkeypatch.setattr(Rollouts, "collect", spy)
    return seen


@pytest.mark.parametrize(("ranks", "worlds"), [(1, (2, 3)), (2, (4, 4))], ids=["other worlds", "several processes"])
def test_where_worlds_cannot_go_on_new_ones_begin_with_a_warning(
    ranks, worlds, fit, at_update, first_steps, tmp_path, monkeypatch
):
    monkeypatch.setattr(ppo, "world_size", lambda: ranks)
    fit(Checkpoints(tmp_path, CheckpointConfig(frames=1)), at_update(2, stop))
    begun = first_steps[0]
    for updates, num_worlds in zip((2, 3), worlds, strict=True):
        first_steps.clear()
        with pytest.warns(UserWarning, match="new episodes begin"):
            resumed = fit(
                Checkpoints(tmp_path), at_update(updates + 1, stop), ckpt_path=tmp_path / "last.ckpt",
                env={"num_worlds": num_worlds}, total_frames=1000,
            )  # fmt: skip
        assert resumed.updates == updates + 1
        for before, now in zip(begun, first_steps[0], strict=True):
            both = min(len(before), len(now))
            assert not torch.isclose(before[:both], now[:both], rtol=1e-3).all(1).any()
        begun = first_steps[0]


def test_people_that_vary_where_they_did_not_begin_new_episodes(fit, at_update, tmp_path):
    fit(Checkpoints(tmp_path, CheckpointConfig(frames=1)), at_update(2, stop))
    changed = {"variation": VariationConfig(mass=0.1), "neural": NeuralConfig(delay=0.02)}
    with pytest.warns(UserWarning, match="new episodes begin"):
        resumed = fit(at_update(3, stop), ckpt_path=tmp_path / "last.ckpt", env=changed, total_frames=1000)
    assert resumed.updates == 3


def test_the_gpus_noise_is_saved_and_restored(ready, monkeypatch):
    module = ready()
    cpu, state, restored = module.device, torch.arange(16, dtype=torch.uint8), []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: restored.append((state, device)))
    monkeypatch.setattr(type(module), "device", torch.device("cuda", 1))
    checkpoint = {}
    module.on_save_checkpoint(checkpoint)
    assert module._restore(checkpoint["musclewarp"])
    ((found, device),) = restored
    assert torch.equal(found, state)
    assert device == torch.device("cuda", 1) != cpu


def test_an_error_leaves_whole_files(fit, at_update, tmp_path):
    def fail(trainer, module):
        raise SimulationError("too many broken worlds")

    with pytest.raises(SimulationError, match="too many"):
        fit(Checkpoints(tmp_path), at_update(2, fail))
    assert_whole(tmp_path, updates=2)


def test_ctrl_c_leaves_whole_files(fit, at_update, tmp_path):
    def interrupt(trainer, module):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):
            fit(Checkpoints(tmp_path), at_update(2, interrupt))
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores Ctrl-C from there on
    assert_whole(tmp_path, updates=2)


def test_max_time_leaves_whole_files(make_ppo, make_trainer, tmp_path):
    module = make_ppo(total_frames=10**9)
    make_trainer(Checkpoints(tmp_path), max_time={"seconds": 1}).fit(module)
    assert 0 < module.frames < 10**9
    assert_whole(tmp_path, updates=module.updates)


def test_files_are_written_every_so_many_updates(fit, at_update, tmp_path):
    seen = []
    look = at_update(4, lambda trainer, module: seen.append(load_policy(tmp_path / "last.ckpt").frames))
    module = fit(Checkpoints(tmp_path, CheckpointConfig(frames=96)), look)
    assert seen == [3 * module.frames // 5]


def test_no_update_no_files(fit, make_ppo, make_trainer, tmp_path, monkeypatch):
    def fail(self, rollout, index):
        raise SimulationError("at once")

    module = make_ppo()
    monkeypatch.setattr(type(module), "training_step", fail)
    with pytest.raises(SimulationError, match="at once"):
        make_trainer(Checkpoints(tmp_path)).fit(module)
    assert not list(tmp_path.glob("*.ckpt"))


def assert_whole(folder, updates):
    """Both files load, belong to `updates`, and nothing temporary is left."""
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    assert checkpoint["musclewarp"]["updates"] == updates
    first, second = (load_policy(folder / name) for name in ("last.ckpt", "policy.safetensors"))
    assert first.frames == second.frames == checkpoint["musclewarp"]["frames"]
    assert all(torch.equal(a, b) for a, b in zip(first.actor.parameters(), second.actor.parameters(), strict=True))
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", "best.ckpt", "policy.safetensors"}


def test_training_from_a_checkpoint_with_hidden_code_refuses_it(fit, tmp_path):
    sprung = tmp_path / "sprung"
    torch.save({"state_dict": Bomb(sprung)}, tmp_path / "bomb.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        fit(ckpt_path=tmp_path / "bomb.ckpt")
    assert not sprung.exists()


def test_a_policy_with_hidden_code_is_refused(tmp_path):
    sprung = tmp_path / "sprung"
    torch.save({"state_dict": {}, "musclewarp": Bomb(sprung)}, tmp_path / "bomb.ckpt")
    with pytest.raises(FileError, match=r"bomb\.ckpt"):
        load_policy(tmp_path / "bomb.ckpt")
    assert not sprung.exists()
    with open(tmp_path / "bomb.ckpt", "wb") as file:
        pickle.dump(Bomb(sprung), file)
    with pytest.raises(FileError, match=r"bomb\.ckpt"):
        load_policy(tmp_path / "bomb.ckpt")
    assert not sprung.exists()
