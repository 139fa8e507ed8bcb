"""Checkpoints: what is in them, that training goes on from them bit by bit, and that every way out leaves one."""

from __future__ import annotations

import dataclasses
import pickle
import signal

import pytest
import torch

from musclewarp.errors import FileError, SimulationError
from musclewarp.learning.callbacks import Checkpoints
from musclewarp.learning.policy import load_policy


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
    """What decides how training goes on: weights and statistics, Adam, the step size, the worlds, the counters."""
    optimizer = module.optimizers().state_dict()
    return {
        **module.state_dict(),
        **{f"adam.{k}.{name}": value for k, state in optimizer["state"].items() for name, value in state.items()},
        **{f"world.{name}": value for name, value in module.final_worlds.items()},
        "lr": torch.tensor(optimizer["param_groups"][0]["lr"]),
        "counters": torch.tensor([module.frames, module.updates]),
    }


@pytest.fixture
def keep_worlds(at_update):
    """`keep_worlds(n)`: a callback that keeps the worlds after update n, for the engine closes with training."""
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
        fit(Checkpoints(tmp_path, every=1), at_update(2, fail))
    resumed = fit(keep_worlds(5), ckpt_path=tmp_path / "last.ckpt")
    expected, found = everything(whole), everything(resumed)
    assert not [key for key, value in expected.items() if not torch.equal(value, found[key])]


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
    module = fit(Checkpoints(tmp_path, every=3), look)
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
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", "policy.safetensors"}


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
