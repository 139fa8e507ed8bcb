"""The environment's promises: resets, ends, seeds, broken worlds, and going on where it was left."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from musclewarp.engines.health import load_dump, replay
from musclewarp.envs import EnvConfig, ImitationEnv
from musclewarp.envs.observations import OBSERVATIONS
from musclewarp.envs.rewards import EFFORT, TRACKING
from musclewarp.errors import ConfigError, SimulationError
from musclewarp.models import PhysicsConfig, load_model
from musclewarp.references.library import ReferenceLibrary

LIVE = ("qpos", "qvel", "act", "ctrl", "qacc_warmstart")


def live(env: ImitationEnv) -> dict[str, torch.Tensor]:
    return {name: getattr(env.engine, name).clone() for name in LIVE}


def partial(env: ImitationEnv, *worlds: int) -> TensorDict:
    mask = torch.zeros(*env.batch_size, 1, dtype=torch.bool)
    mask[list(worlds)] = True
    return TensorDict({"_reset": mask}, batch_size=env.batch_size)


@pytest.mark.parametrize("name", ["bimanual", "myofullbody"])
def test_specs_hold_on_the_native_engine(make_env, name):
    check_env_specs(make_env(name, worlds=2), seed=0)


@pytest.mark.slow
def test_specs_hold_on_the_warp_engine(make_env):
    pytest.importorskip("musclewarp.engines.warp")
    check_env_specs(make_env("bimanual", worlds=2, engine="warp"), seed=0)


@pytest.mark.parametrize("name", ["bimanual", "myofullbody"])
def test_a_reset_starts_on_the_reference_on_the_couplings(make_env, name):
    env = make_env(name, worlds=4)
    env.reset()
    couplings, row = env.model.couplings, env.library.index(env.clip, env.frame)
    assert torch.equal(env.engine.qpos, env.library.qpos[row])
    assert torch.equal(env.engine.qvel, env.library.qvel[row])
    assert couplings.residual(env.engine.qpos).abs().max() < 1e-12
    qvel = env.engine.qvel
    assert (qvel - couplings.project_qvel(env.engine.qpos, qvel)).abs().max() < 1e-12
    assert (env.engine.act == 0.05).all()
    np.testing.assert_allclose(env.reset_to(env.clip, env.frame)["site_error"], 0, atol=1e-6)


def test_a_reset_starts_with_the_activations_of_the_reference_where_it_has_them(make_env, arms, arms_references):
    known = torch.rand(40, arms.mj_model.nu, generator=torch.Generator().manual_seed(0)).double()
    library = ReferenceLibrary([arms_references[0], replace(arms_references[1], activations=known.numpy())], arms)
    env = make_env(library=library)
    env.reset_to(torch.tensor([1, 0, 1]), torch.tensor([7, 7, 30]))
    np.testing.assert_allclose(env.engine.act[[0, 2]], known[[7, 30]], atol=1e-6)
    np.testing.assert_allclose(env.engine.act[1], 0.05)


def test_starts_are_spread_over_clips_by_length_and_leave_a_step_to_take(make_env):
    env = make_env(worlds=64)
    clips, frames = [], []
    for _ in range(4):
        env.reset()
        clips.append(env.clip.clone())
        frames.append(env.frame.clone())
    clips, frames = torch.cat(clips), torch.cat(frames)
    assert (frames < env.library.lengths[clips] - 1).all()
    assert abs((clips == 1).double().mean() - 2 / 3) < 0.12  # four standard deviations
    assert len(frames[clips == 1].unique()) > 25


def test_a_partial_reset_touches_nobody_else(make_env, act):
    env = make_env(worlds=3)
    env.reset()
    env.step(act(env))
    before, clip, frame, steps = live(env), env.clip.clone(), env.frame.clone(), env._steps.clone()
    state = env.state.clone()
    env.reset(partial(env, 1))
    others = [0, 2]
    for name, value in live(env).items():
        assert torch.equal(value[others], before[name][others]), name
    assert torch.equal(env.clip[others], clip[others])
    assert torch.equal(env.frame[others], frame[others])
    assert torch.equal(env._steps[others], steps[others])
    for (name, value), (_, old) in zip(env.state[others].items(), state[others].items(), strict=True):
        assert torch.equal(value, old), name
    assert env._steps[1] == 0
    assert not torch.equal(env.engine.qpos[1], before["qpos"][1])


def test_a_partial_reset_leaves_the_future_of_the_others_alone(make_env, act):
    first, second = make_env(worlds=3), make_env(worlds=3)
    for env in (first, second):
        env.reset()
        env.step(act(env))
    second.reset(partial(second, 1))
    for seed in range(3):
        one, other = (env.step(act(env, seed))["next"] for env in (first, second))
        for key in ("observation", "reward", "site_error"):
            assert torch.equal(one[key][[0, 2]], other[key][[0, 2]]), key


def test_a_partial_reset_of_others_does_not_change_what_a_world_draws_next(make_env):
    first, second = make_env(worlds=2), make_env(worlds=2)
    first.reset()
    second.reset()
    second.reset(partial(second, 1))
    first.reset(partial(first, 0))
    second.reset(partial(second, 0))
    assert first.clip[0] == second.clip[0]
    assert first.frame[0] == second.frame[0]


def test_the_cursor_is_one_frame_on_after_a_step_and_the_target_with_it(make_env, act):
    env = make_env(lookahead=(1, 5))
    env.reset()
    clip, frame = env.clip.clone(), env.frame.clone()
    env.step(act(env))
    assert torch.equal(env.clip, clip)
    assert torch.equal(env.frame, frame + 1)
    for goal, offset in ((env.target.now, 0), (env.target.ahead[:, 0], 1), (env.target.ahead[:, 1], 5)):
        for (name, value), (_, expected) in zip(
            goal.items(), env.library.goal(clip, frame + 1 + offset).items(), strict=True
        ):
            if name != "activation":  # which these references do not know
                assert torch.equal(value, expected), (name, offset)


def test_the_end_of_a_clip_truncates_with_the_true_last_observation(make_env, act):
    env = make_env(worlds=2)
    length = int(env.library.lengths[0])
    td = env.reset_to(torch.tensor([0, 1]), torch.tensor([length - 3, 0]))
    td = env.step(td.update(act(env)))["next"]
    assert not td["done"].any()
    stepped, following = env.step_and_maybe_reset(act(env, seed=1))
    result = stepped["next"]
    assert result["truncated"].squeeze(-1).tolist() == [True, False]
    assert result["done"].squeeze(-1).tolist() == [True, False]
    assert not result["terminated"].any()
    twin = make_env(worlds=2)  # steps alike and does not reset
    twin.reset_to(torch.tensor([0, 1]), torch.tensor([length - 3, 0]))
    twin.step(act(twin))
    last = twin.step(act(twin, seed=1))["next"]
    assert torch.equal(result["observation"], last["observation"])
    assert not torch.equal(following["observation"][0], last["observation"][0])
    assert torch.equal(following["observation"][1], last["observation"][1])
    assert env.frame[1] == 2


def test_episodes_are_truncated_after_their_time(make_env, act):
    env = make_env(worlds=2, episode_seconds=0.1)
    env.reset_to(torch.tensor([1, 1]), torch.tensor([0, 4]))
    done = [bool(env.step(act(env))["next"]["truncated"].all()) for _ in range(5)]
    assert done == [False] * 4 + [True]


def test_terminated_and_truncated_are_never_both(make_env, act):
    env = make_env(worlds=2, terminations={"site_deviation": 0.0})
    length = int(env.library.lengths[0])
    env.reset_to(torch.tensor([0, 0]), torch.tensor([length - 2, 0]))
    result = env.step(act(env))["next"]
    assert result["terminated"].all()
    assert not result["truncated"].any()
    assert result["done"].all()


def test_a_world_terminates_beyond_its_limit_and_only_then(make_env, act):
    env = make_env(worlds=3)
    env.reset_to(torch.zeros(3, dtype=torch.int64), torch.tensor([0, 5, 10]))
    error = env.step(act(env))["next"]["site_error"].squeeze(-1)
    limit = float(error.median())
    strict = make_env(worlds=3, terminations={"root_deviation": 10.0, "site_deviation": limit})
    strict.reset_to(torch.zeros(3, dtype=torch.int64), torch.tensor([0, 5, 10]))
    terminated = strict.step(act(strict))["next"]["terminated"].squeeze(-1)
    assert torch.equal(terminated, error > limit)
    assert terminated.sum() == 1


@pytest.mark.parametrize("name", ["bimanual", "myofullbody"])
def test_the_reward_is_the_weighted_sum_of_the_terms(make_env, act, name):
    tracking = {term: {"weight": 0.1 * (k + 1), "scale": 0.3} for k, term in enumerate(TRACKING)}
    effort = {term: {"weight": 2.0, "scale": 0.5} for term in EFFORT}
    env = make_env(name, worlds=2, rewards={**tracking, **effort})
    env.reset()
    reward = env.step(act(env))["next"]["reward"].squeeze(-1)
    expected = torch.zeros(2)
    for k, term in enumerate(TRACKING.values()):
        expected += 0.1 * (k + 1) * torch.exp(-term(env.state, env.target) / 0.3)
    expected -= sum(4.0 * term(env.state, env.target) for term in EFFORT.values())
    np.testing.assert_allclose(reward, expected, rtol=1e-5)


def test_reward_and_observation_belong_to_the_state_after_the_step(make_env, act):
    env = make_env(
        worlds=2, observations=("joint_pos", "activation"), rewards={"joint_position": {"weight": 1.0, "scale": 1.0}}
    )
    env.reset()
    result = env.step(act(env))["next"]
    joints = env.engine.qpos[:, env.model.joint_qpos].float()
    np.testing.assert_array_equal(result["observation"], torch.cat((joints, env.engine.act.float()), -1))
    goal = env.library.qpos[env.library.index(env.clip, env.frame)][:, env.model.joint_qpos]
    error = (env.engine.qpos[:, env.model.joint_qpos] - goal).square().mean(-1).sqrt()
    np.testing.assert_allclose(result["reward"].squeeze(-1), torch.exp(-error), rtol=1e-5)


def test_columns_are_where_the_terms_are(make_env, act):
    names = ("activation", "ahead_site_pos", "joint_vel", "root_tilt")
    env = make_env(worlds=2, observations=names)
    env.reset()
    observation = env.step(act(env))["next"]["observation"]
    for name in names:
        expected = OBSERVATIONS[name](env.state, env.target).flatten(1)
        assert torch.equal(observation[:, env.observation_columns(name)], expected), name
    assert env.observation_columns("joint_pos") == slice(0, 0)
    assert env.observation_columns(names[-1]).stop == observation.shape[1]


def test_excitations_outside_zero_to_one_are_clamped(make_env):
    env = make_env(worlds=2)
    env.reset()
    action = torch.full((2, env.model.mj_model.nu), 3.0)
    action[1] = -3.0
    env.step(TensorDict({"action": action}, batch_size=[2]))
    assert (env.engine.ctrl[0] == 1).all()
    assert (env.engine.ctrl[1] == 0).all()
    assert (env.state.excitation[0] == 1).all()


def observations(env: ImitationEnv, act, steps: int = 3) -> torch.Tensor:
    seen = [env.reset()["observation"]]
    for seed in range(steps):
        seen.append(env.step(act(env, seed))["next"]["observation"])
    return torch.stack(seen)


def test_the_same_seed_gives_the_same_episode_and_another_another(make_env, act):
    first = observations(make_env(seed=5), act)
    assert torch.equal(first, observations(make_env(seed=5), act))
    assert not torch.equal(first, observations(make_env(seed=6), act))


def test_set_seed_starts_the_draws_again(make_env, act):
    env = make_env(seed=5)
    first = observations(env, act)
    assert not torch.equal(first, observations(env, act))
    env.set_seed(5)
    assert torch.equal(first, observations(env, act))


def test_what_a_world_draws_does_not_depend_on_how_many_there_are(make_env):
    few, many = make_env(worlds=2), make_env(worlds=5)
    for _ in range(3):
        few.reset()
        many.reset()
        assert torch.equal(few.clip, many.clip[:2])
        assert torch.equal(few.frame, many.frame[:2])
        assert torch.equal(few.engine.qpos, many.engine.qpos[:2])


def test_where_the_world_is_and_heads_does_not_change_what_is_observed(
    make_env, act, body, body_references, turned_reference
):
    names = tuple(OBSERVATIONS)
    seen = []
    for yaw, shift in ((0.0, (0.0, 0.0)), (2.0, (3.0, -4.0))):
        turned = [turned_reference(reference, yaw, shift) for reference in body_references]
        env = make_env("myofullbody", worlds=2, library=ReferenceLibrary(turned, body), observations=names)
        td = env.reset()
        seen.append((td["observation"], env.state))
    (first, one), (second, other) = seen
    assert (one.root_pos[:, :2] - other.root_pos[:, :2]).norm(dim=-1).min() > 1
    scale = first.abs().clamp(min=1.0)
    np.testing.assert_allclose(second / scale, first / scale, atol=1e-4)


def test_the_root_has_its_x_axis_forward_and_its_y_axis_up(arms, body):
    for model in (arms, body):
        data = mujoco.MjData(model.mj_model)
        mujoco.mj_forward(model.mj_model, data)
        left, right = (model.site_ids[model.sites.index(f"{side}_shoulder")] for side in ("left", "right"))
        axes = data.site_xmat[model.site_ids[0]].reshape(3, 3)
        forward = np.cross(data.site_xpos[left] - data.site_xpos[right], [0.0, 0.0, 1.0])
        assert axes[2, 1] > 0.9, "observations take the root's y axis for the vertical"
        assert axes[:, 0] @ forward > 0.9 * np.linalg.norm(forward), "and its x axis for where a person faces"


@pytest.mark.parametrize("name", ["bimanual", "myofullbody"])
def test_a_restored_snapshot_goes_on_bit_for_bit(make_env, act, name):
    env, other = make_env(name, worlds=2), make_env(name, worlds=2, seed=9)
    env.reset()
    env.step(act(env))
    saved = env.snapshot()
    other.reset()
    other._seed = env._seed
    other.restore(saved)
    assert torch.equal(env.current()["observation"], other.current()["observation"])
    for seed in (1, 2, 3):
        one, two = (e.step(act(e, seed))["next"] for e in (env, other))
        for key in ("observation", "reward", "done"):
            assert torch.equal(one[key], two[key]), (key, seed)
    env.reset()
    other.reset()
    assert torch.equal(env.engine.qpos, other.engine.qpos)


def test_a_snapshot_is_not_changed_by_what_follows(make_env, act):
    env = make_env(worlds=2)
    env.reset()
    saved = env.snapshot()
    kept = {name: value.clone() for name, value in saved.items()}
    env.step(act(env))
    env.reset()
    assert all(torch.equal(saved[name], kept[name]) for name in kept)


@pytest.fixture
def broken(make_env, act, tmp_path):
    """An environment after a step in which world 1 was made NaN; beside it the same without; and both results."""
    config = {"terminations": {"site_deviation": 10.0}, "dump_folder": str(tmp_path / "dumps")}
    sick, sound = make_env(**config), make_env(**config)
    for env in (sick, sound):
        env.reset_to(torch.ones(3, dtype=torch.int64), torch.tensor([3, 7, 11]))
        env.step(act(env))
    before = sick.current()["observation"].clone()
    sick.engine.qpos[1] = torch.nan
    results = [env.step(act(env, seed=1))["next"] for env in (sick, sound)]
    return sick, before, *results, tmp_path / "dumps"


def test_a_broken_world_is_terminated_without_reward_on_its_last_finite_observation(broken):
    _, before, result, _, _ = broken
    assert result["terminated"].squeeze(-1).tolist() == [False, True, False]
    assert not result["truncated"].any()
    assert float(result["reward"][1]) == 0
    assert torch.equal(result["observation"][1], before[1])
    for key in ("observation", "reward", "site_error"):
        assert torch.isfinite(result[key]).all(), key


def test_a_broken_world_disturbs_nobody(broken):
    _, _, result, sound, _ = broken
    for key in ("observation", "reward", "site_error", "done"):
        assert torch.equal(result[key][[0, 2]], sound[key][[0, 2]]), key


def test_a_broken_world_is_counted_and_as_good_as_new_after_its_reset(broken, act):
    env, *_ = broken
    assert int(env.quarantine.count) == 1
    assert env.quarantine.world_steps == 6
    reset = env.reset(partial(env, 1))
    assert torch.isfinite(reset["observation"]).all()
    result = env.step(act(env))["next"]
    assert torch.isfinite(result["observation"]).all()
    assert not result["terminated"].any()
    assert int(env.quarantine.count) == 1


def test_the_dump_of_a_broken_world_fails_again_and_a_sound_state_does_not(broken):
    env, *_, folder = broken
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["world_0.safetensors"]
    arrays, header = load_dump(files[0])
    assert header["world"] == 1
    assert header["model_hash"] == env.model.hash
    assert np.isnan(arrays["qpos"]).all()
    np.testing.assert_array_equal(arrays["ctrl"].astype(np.float32), env.state.excitation[1].numpy())
    assert replay(env.engine, arrays)
    sound = {**arrays, "qpos": env.library.qpos[0].numpy()}
    assert not replay(env.engine, sound)


def test_a_run_with_too_many_broken_worlds_stops(make_env, act):
    env = make_env(worlds=3, max_quarantined_fraction=0.01)
    env.reset()
    env.engine.qpos[1] = torch.nan
    env.step(act(env))
    env.quarantine.check()  # three world-steps say nothing yet
    env.quarantine.world_steps = 1000
    env.quarantine.count.fill_(10)
    env.quarantine.check()
    env.quarantine.count.fill_(11)
    with pytest.raises(SimulationError, match=r"11 of 1000 .*limit 1\.00%.*physics\.timestep"):
        env.quarantine.check()


def test_a_model_or_library_that_is_not_the_configs_is_refused(arms, body, arms_library):
    fast = EnvConfig(physics=PhysicsConfig(0.005, 2))
    with pytest.raises(ConfigError, match=r"given model 'bimanual' with .*load_model"):
        ImitationEnv(fast, model=arms, library=arms_library, worlds=1)
    with pytest.raises(ConfigError, match="library was made for another model than 'myofullbody'"):
        ImitationEnv(EnvConfig(model="myofullbody"), model=body, library=arms_library, worlds=1)
    faster = load_model("bimanual", physics=fast.physics)
    with pytest.raises(ConfigError, match=r"control steps of 0\.02 s"):
        ImitationEnv(fast, model=faster, library=arms_library, worlds=1)


def test_activations_that_a_reference_does_not_know_are_the_initial_ones(make_env, arms, arms_references):
    muscles, (first, second) = arms.mj_model.nu, arms_references
    known = replace(second, activations=np.full((second.num_frames, muscles), 0.4))
    env = make_env(worlds=2, library=ReferenceLibrary([first, known], arms), initial_activation=0.3,
                   observations=("reference_activation",))  # fmt: skip
    seen = env.reset_to(torch.tensor([0, 1]), torch.tensor([0, 0]))["observation"]
    np.testing.assert_allclose(seen, np.repeat([[0.3], [0.4]], muscles, axis=1), rtol=1e-6)
    np.testing.assert_allclose(env.engine.act, np.repeat([[0.3], [0.4]], muscles, axis=1), rtol=1e-6)


def test_a_rollout_of_torchrl_resets_what_is_done(make_env):
    env = make_env(worlds=3, episode_seconds=0.08)
    rollout = env.rollout(10, break_when_any_done=False)
    assert rollout["next", "truncated"].squeeze(-1).sum(-1).min() >= 2
    assert torch.isfinite(rollout["next", "observation"]).all()
