"""The evaluator: state and reference of the same frame, every clip once, the same numbers every time."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from musclewarp.envs import ControlConfig, ImitationEnv, PushConfig, SamplingConfig, TighteningConfig, VariationConfig
from musclewarp.errors import ConfigError
from musclewarp.evaluation import evaluator
from musclewarp.evaluation.evaluator import (
    SuccessRule,
    _Recorder,
    evaluate,
    policy_controller,
    random_starts,
    run_trials,
    zero_excitation,
)
from musclewarp.evaluation.metrics import frame_errors, summarize
from musclewarp.learning import PPO
from musclewarp.references import make_reference
from musclewarp.references.library import ReferenceLibrary
from musclewarp.references.loop import cut_loop

KEYS = {"success", "frame_coverage", "relative_site_error_m", "joint_error_rad", "joint_velocity_error_rad_s"}


@pytest.fixture(scope="module")
def result(policy, arms, library):
    return evaluate(policy, arms, library)


def leaves(value):
    """Every number in nested dicts and lists."""
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]


def test_the_json_has_the_promised_keys_and_finite_numbers(result, clips):
    numbers, _ = result
    assert set(numbers) == {"policy", "untrained", "zero_excitation", "clips"}
    assert [clip["name"] for clip in numbers["clips"]] == [clip.name for clip in clips]
    for summary in (numbers["policy"], numbers["untrained"], numbers["zero_excitation"], *numbers["clips"]):
        assert set(summary) >= KEYS
        assert all(isinstance(summary[key], float) and math.isfinite(summary[key]) for key in KEYS)
        assert 0 <= summary["success"] <= 1
        assert 0 <= summary["frame_coverage"] <= 1
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


@pytest.mark.parametrize(("seconds", "frames"), [(None, 21), (1.0, 51)])
def test_a_loop_is_followed_for_one_cycle_or_as_long_as_asked_and_a_clip_to_its_end(
    seconds, frames, arms, clips, config
):
    time = np.arange(40)
    qpos = np.tile(arms.mj_model.qpos0, (40, 1))
    qpos[:, arms.joint_qpos] += 0.1 * np.sin(2 * np.pi * time / 20)[:, None]
    loop = cut_loop(arms, make_reference(arms, qpos, 0.02, "swing"), (0.2, 0.6))
    library = ReferenceLibrary([clips[0], loop], arms)
    trials = run_trials(config, arms, library, zero_excitation(arms.mj_model.nu), "zero_excitation", seconds=seconds)
    assert [trial.num_frames for trial in trials] == [clips[0].num_frames, frames]
    expected = loop.qpos[np.arange(frames) % 20]
    np.testing.assert_allclose(trials[1]["reference_qpos"], expected, atol=1e-6)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.001, float("inf"), float("nan")])
def test_no_time_at_all_is_refused(seconds, arms, library, config):
    with pytest.raises(ConfigError, match=r"at least a control step, 0\.02 s"):
        run_trials(config, arms, library, zero_excitation(arms.mj_model.nu), "zero_excitation", seconds=seconds)


def test_every_clip_is_run_once_from_its_first_frame_to_its_last(result, clips):
    for name, trials in result[1].items():
        assert [(trial.clip, trial.num_frames) for trial in trials] == [(clip.name, clip.num_frames) for clip in clips]
        assert {trial.controller for trial in trials} == {name}
        for trial, clip in zip(trials, clips, strict=True):
            np.testing.assert_allclose(trial["reference_qpos"], clip.qpos, atol=1e-6)
            np.testing.assert_allclose(trial["reference_site_pos"], clip.site_positions, atol=1e-5)
            np.testing.assert_allclose(trial["qpos"][0], clip.qpos[0], atol=1e-6)


def test_state_and_reference_of_the_same_frame_are_compared(arms, library, config, clips):
    env = ImitationEnv(config, model=arms, library=library, worlds=len(clips))
    recorder = _Recorder(env, SuccessRule.of(arms))
    worlds = torch.arange(len(clips))
    for frame in range(int(library.lengths.max())):
        env.reset_to(worlds, torch.minimum(torch.full_like(worlds, frame), library.lengths - 1))
        recorder.record()
    for world, clip in enumerate(clips):
        trial = recorder.trial(world, "perfect", clip.num_frames, 0)
        errors = frame_errors(trial)
        for key in ("relative_site_error_m", "absolute_site_error_m", "joint_error_rad", "joint_velocity_error_rad_s"):
            np.testing.assert_allclose(errors[key], 0.0, atol=1e-5, err_msg=key)
        # while a frame's lag would show
        lag = np.abs(trial["joint_pos"][1:] - trial["reference_joint_pos"][:-1]).mean()
        assert lag > 1e-3
        assert trial.num_frames == clip.num_frames
        assert trial.success


def test_in_a_run_the_reference_moves_with_the_state(result, clips):
    for trial, clip in zip(result[1]["zero_excitation"], clips, strict=True):
        np.testing.assert_allclose(trial["qpos"][1], clip.qpos[1], atol=0.05)  # one step from the reference is near
        np.testing.assert_allclose(trial["reference_qpos"][1], clip.qpos[1], atol=1e-6)


def test_evaluation_is_deterministic(result, policy, arms, library):
    assert evaluate(policy, arms, library)[0] == result[0]


def test_a_clips_trial_does_not_depend_on_the_clips_beside_it(result, policy, arms, clips):
    still = zero_excitation(arms.mj_model.nu)
    for name, controller in (("zero_excitation", still), ("policy", policy_controller(policy))):
        for clip, together in zip(clips, result[1][name], strict=True):
            (alone,) = run_trials(policy.env, arms, ReferenceLibrary([clip], arms), controller, name)
            for key, value in alone.arrays.items():
                # a network's sums round otherwise in another batch, physics does not
                tolerance = 0.0 if controller is still else 1e-3 * max(1.0, float(np.abs(value).max(initial=0.0)))
                np.testing.assert_allclose(value, together[key], rtol=0, atol=tolerance, err_msg=key)


def test_clips_that_do_not_fit_together_are_evaluated_one_after_another_and_all_once(policy, arms, library, clips):
    megabytes = 32.5 * library.nbytes / int(library.lengths.sum()) / 1e6  # of 12, 7 and 20 frames
    still = zero_excitation(arms.mj_model.nu)
    streamed = ReferenceLibrary(clips, arms, megabytes=megabytes)
    expected, found = (run_trials(policy.env, arms, each, still, "zero") for each in (library, streamed))
    assert [trial.clip for trial in found] == [clip.name for clip in clips]
    for one, other in zip(expected, found, strict=True):
        assert one.failed_at == other.failed_at
        assert all(np.array_equal(value, other.arrays[key]) for key, value in one.arrays.items())


def test_many_clips_are_run_in_batches(policy, arms, library, monkeypatch, result):
    monkeypatch.setattr(evaluator, "_LARGEST_BATCH", 2)
    seen = []
    trials = run_trials(
        policy.env, arms, library, policy_controller(policy), "policy", lambda done, total: seen.append((done, total))
    )
    ours, theirs = summarize(trials), result[0]["policy"]
    for ends, others in zip(ours.pop("intervals").values(), theirs["intervals"].values(), strict=True):
        assert ends == pytest.approx(others, rel=1e-4)
    assert ours.pop("survived") == pytest.approx(theirs["survived"], rel=1e-4)  # matrix products of other sizes round
    assert ours == pytest.approx({key: theirs[key] for key in ours}, rel=1e-4)
    steps = (12 - 1) + (20 - 1)  # the longest of two, then the third alone
    assert seen == [(k + 1, steps) for k in range(steps)]


def test_frames_after_a_failure_are_recorded(policy, arms, library, monkeypatch):
    monkeypatch.setattr(SuccessRule, "of", lambda model: SuccessRule(site_error=1e-6))
    trials = run_trials(policy.env, arms, library, zero_excitation(arms.mj_model.nu), "zero_excitation")
    assert all(0 < trial.failed_at < 5 for trial in trials)
    assert [trial.num_frames for trial in trials] == [12, 7, 20]
    assert summarize(trials)["survived"] is not None


def test_arms_fail_beyond_8_cm_and_bodies_when_they_fall(arms):
    assert SuccessRule.of(arms).site_error == 0.08
    body = SimpleNamespace(feet=("right", "left"), standing_root_height=1.0)
    rule = SuccessRule.of(body)
    assert (rule.min_height, rule.body_on_floor) == (0.6, True)
    sites = torch.zeros(4, 2, 3)
    state = SimpleNamespace(
        site_pos=sites, root_pos=torch.tensor([[0, 0, 1.0], [0, 0, 0.59], [0, 0, 1.0], [0, 0, 1.0]]),
        floor_contacts=torch.tensor([2.0, 2.0, 3.0, 0.0]), foot_contacts=torch.tensor([[1.0, 1.0]] * 3 + [[0.0, 0.0]]),
    )  # fmt: skip
    state.site_pos = state.root_pos[:, None].expand(4, 2, 3)
    target = SimpleNamespace(now=SimpleNamespace(site_pos=sites, root_pos=state.root_pos))
    assert rule.failed(body, state, target).tolist() == [False, True, True, False]


def test_bodies_fail_where_the_root_is_more_than_half_a_metre_off():
    rule = SuccessRule.of(SimpleNamespace(feet=("right", "left"), standing_root_height=1.0))
    roots = torch.tensor([[0.0, 0.0, 1.0], [0.49, 0.0, 1.0], [0.0, 0.51, 1.0]])
    sites = roots[:, None].expand(3, 2, 3)
    contacts = {"floor_contacts": torch.zeros(3), "foot_contacts": torch.zeros(3, 2)}
    state = SimpleNamespace(site_pos=sites, root_pos=roots, **contacts)
    target = SimpleNamespace(now=SimpleNamespace(site_pos=sites[:1], root_pos=roots[:1]))
    body = SimpleNamespace(feet=("right", "left"), standing_root_height=1.0)
    assert rule.failed(body, state, target).tolist() == [False, False, True]


def test_episodes_from_random_frames_follow_the_reference_from_there(policy, arms, library, clips):
    starts = random_starts(library, 200)
    counts = np.bincount([clip for clip, _ in starts], minlength=3) / 200
    np.testing.assert_allclose(counts, library.lengths / library.lengths.sum(), atol=0.1)
    assert all(frame < clips[clip].num_frames - 1 for clip, frame in starts)
    trials = run_trials(policy.env, arms, library, policy_controller(policy), "policy", starts=starts[:8])
    for trial, (clip, frame) in zip(trials, starts, strict=False):
        assert (trial.clip, trial.source["start"]) == (clips[clip].name, frame)
        np.testing.assert_allclose(trial["reference_qpos"], clips[clip].qpos[frame:], atol=1e-6)


def test_episodes_are_measured_beside_the_clips(policy, arms, library, result):
    numbers, trials = evaluate(policy, arms, library, episodes=5)
    assert numbers["policy"] == result[0]["policy"]
    assert numbers["episodes"]["number"] == len(trials["episodes"]) == 5
    assert 0 < numbers["episodes"]["survival_s"] <= 0.4


def test_nobody_is_pushed_in_an_evaluation_unless_it_asks_for_it(policy, arms, library, result):
    pushes = PushConfig(force=(30.0, 30.0), seconds=0.1, interval=0.1, body="humerus_r")
    practised = replace(
        policy.env, pushes=pushes, sampling=SamplingConfig(floor=0.5), tightening=TighteningConfig(loosest=2.0)
    )
    still = evaluate(replace(policy, env=practised), arms, library)[0]
    assert still == result[0]
    pushed = evaluate(policy, arms, library, pushes=pushes)[0]
    assert pushed["pushes"] == {"force": (30.0, 30.0), "seconds": 0.1, "interval": 0.1, "body": "humerus_r"}
    for name in ("policy", "untrained", "zero_excitation"):
        assert pushed[name]["relative_site_error_m"] != result[0][name]["relative_site_error_m"]


def test_people_differ_in_an_evaluation_only_if_it_asks_for_it(policy, arms, library, result):
    practised = replace(policy.env, variation=VariationConfig(mass=0.3))
    still = run_trials(practised, arms, library, policy_controller(policy), "policy")
    heavier = VariationConfig(mass=(1.3, 1.3))
    heavy = run_trials(practised, arms, library, policy_controller(policy), "policy", variation=heavier)
    for trial, other, before in zip(still, heavy, result[1]["policy"], strict=True):
        np.testing.assert_array_equal(trial["qpos"], before["qpos"])
        np.testing.assert_array_equal(trial["qpos"][0], other["qpos"][0])
        assert np.abs(trial["qpos"] - other["qpos"]).max() > 1e-4


def test_a_broken_world_fails_and_keeps_its_last_measurement_while_the_reference_goes_on(arms, library, config):
    env = ImitationEnv(config, model=arms, library=library, worlds=3)
    worlds = torch.arange(3)
    current = env.reset_to(worlds, torch.zeros(3, dtype=torch.int64))
    recorder = _Recorder(env, SuccessRule.of(arms))
    recorder.record()
    env.engine.qvel[1] = torch.nan
    current["action"] = torch.zeros(3, arms.mj_model.nu)
    env.step(current)
    recorder.record()
    assert torch.stack(recorder.failed).tolist() == [[False] * 3, [False, True, False]]
    for key, value in recorder.rows[1].items():
        assert value.isfinite().all(), key
        if not key.startswith(("reference", "recorded")):
            assert torch.equal(value[1], recorder.rows[0][key][1]), key
    expected = library.goal(worlds, torch.ones_like(worlds))
    assert torch.equal(recorder.rows[1]["reference_site_pos"], expected.site_pos)
    assert torch.equal(recorder.rows[1]["recorded_site_pos"], expected.recorded_pos)


def test_zero_excitation_excites_nothing_also_where_a_policy_moves_joint_targets(policy, arms, library):
    module = PPO(replace(policy.env, control=ControlConfig(mode="joint_targets")), policy.ppo)
    module.build(policy.sizes["observations"], len(arms.joint_dofs), {})
    moving = replace(policy, actor=module.actor.eval(), env=module.env_config, sizes=module.sizes)
    numbers, trials = evaluate(moving, arms, library)
    assert all(not trial["excitation"].any() for trial in trials["zero_excitation"])
    assert numbers["untrained"]["relative_site_error_m"] < 0.5 * numbers["zero_excitation"]["relative_site_error_m"]


def test_zero_excitation_excites_nothing(result):
    assert all(not trial["excitation"].any() for trial in result[1]["zero_excitation"])
    assert any(trial["excitation"].any() for trial in result[1]["policy"])
