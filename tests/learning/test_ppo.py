"""The update: its objective against the paper's, its step size, its schedules, and what it changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from torchrl.objectives import ClipPPOLoss

from musclewarp.envs import ControlConfig, EnvConfig
from musclewarp.errors import ConfigError, SimulationError, TrainingError
from musclewarp.learning import ppo
from musclewarp.learning.callbacks import Checkpoints
from musclewarp.learning.config import PPOConfig, refuse_unused
from musclewarp.learning.policy import parse_config
from musclewarp.references.reference import SUFFIX, Reference

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def optimizer(rate):
    return SimpleNamespace(param_groups=[{"lr": rate}])


@pytest.fixture
def estimated(ready):
    """A learner and a rollout with advantages, of episodes that end by falls and by time-outs."""
    module = ready()
    rollout = module.rollouts.collect(40)
    rollout["next", "terminated"][:, ::7] = True
    rollout["next", "truncated"][:, ::7] = False
    rollout["next", "truncated"][:, 3::7] = True
    rollout["next", "done"] = rollout["next", "terminated"] | rollout["next", "truncated"]
    module._estimate_advantages(rollout)
    return module, rollout


def test_the_loss_is_torchrls_and_not_functional(ready):
    module = ready()
    assert type(module.loss) is ClipPPOLoss
    assert module.loss.functional is False
    trained = {id(p) for p in module.loss.parameters() if p.requires_grad}
    assert {id(p) for p in module.head.network.parameters()} <= trained
    assert {id(p) for p in module.critic.parameters()} <= trained


def test_the_loss_is_the_papers_clipped_objective(estimated):
    module, rollout = estimated
    samples = rollout.exclude("next").reshape(-1)
    # an old policy that was another one, so that ratios pass the clip on both sides
    samples["action_log_prob"] = samples["action_log_prob"] + 0.5 * torch.randn(len(samples))
    with torch.no_grad():
        losses = module.loss(samples.clone())
        loc, scale = (x.double().numpy() for x in module.head(samples["observation"]))
        value = module.critic.module(samples["observation"]).double().numpy()
    action, advantage = samples["action"].double().numpy(), samples["advantage"].double().numpy()[:, 0]
    density = scipy.stats.norm.logpdf(scipy.special.logit(action), loc, scale) - np.log(action * (1 - action))
    ratio = np.exp(density.sum(-1) - samples["action_log_prob"].double().numpy())
    low, high = 1 - module.config.clip, 1 + module.config.clip
    assert (ratio < low).any()
    assert (ratio > high).any()
    objective = np.minimum(ratio * advantage, np.clip(ratio, low, high) * advantage).mean()
    error = np.square(value - samples["value_target"].double().numpy()).mean()
    assert float(losses["loss_objective"]) == pytest.approx(-objective, rel=1e-3, abs=1e-5)
    assert float(losses["loss_critic"]) == pytest.approx(module.config.critic_weight * error, rel=1e-4)


def test_value_targets_bootstrap_at_timeouts_and_not_at_falls(estimated):
    module, rollout = estimated
    following, gamma = rollout["next"], module.config.gamma
    with torch.no_grad():
        last = module.value_head.value(following["observation"])
    fallen, timed_out = following["terminated"], following["truncated"]
    target = module.value_head.mean + module.value_head.std * rollout["value_target"]
    torch.testing.assert_close(target[fallen], following["reward"][fallen])
    expected = following["reward"] + gamma * last
    torch.testing.assert_close(target[timed_out], expected[timed_out])


def test_advantages_are_normalised_over_the_whole_batch(estimated):
    advantage = estimated[1]["advantage"]
    assert float(advantage.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(advantage.square().mean()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("factor", "direction"), [(10.0, -1), (1.0, 0), (0.1, 1)])
def test_the_step_size_shrinks_when_the_policy_moves_too_far_and_grows_when_too_little(factor, direction, make_ppo):
    module, steered = make_ppo(), optimizer(1e-3)
    module._steer([steered], factor * module.config.kl_target)
    assert np.sign(steered.param_groups[0]["lr"] - 1e-3) == direction


def test_the_step_size_stays_in_its_bounds(make_ppo):
    module = make_ppo(learning_rate=1e-3, learning_rate_bounds=(5e-4, 2e-3))
    for kl, bound in ((1e3, 5e-4), (0.0, 2e-3)):
        steered = optimizer(1e-3)
        for _ in range(20):
            module._steer([steered], kl)
        assert steered.param_groups[0]["lr"] == bound


def test_the_policys_change_is_the_divergence_of_gaussians(ready):
    module = ready()
    samples = module.rollouts.collect(300).exclude("next").reshape(-1)
    assert float(module._policy_change(samples)) == pytest.approx(0.0, abs=1e-6)
    shift = 0.05
    module.head.network[-1].bias.data += shift  # every logit moves by the same
    scale = module.head.log_std.detach().exp()
    exact = float((shift**2 / (2 * scale**2)).sum())
    assert float(module._policy_change(samples)) == pytest.approx(exact, rel=0.15)


def test_schedules_count_environment_frames(make_ppo):
    module = make_ppo()
    module.build(5, 3, {})
    total = module.config.total_frames
    for frames, expected in ((0, 0.8), (total // 2, 0.6), (total, 0.4), (3 * total, 0.4)):
        module.frames = frames
        assert module._interpolate(0.8, 0.4) == pytest.approx(expected)


def test_exploration_follows_its_schedule_and_no_gradient(fit):
    module = fit(initial_std=0.5, final_std=0.3)
    torch.testing.assert_close(module.head.log_std.detach().exp(), torch.full_like(module.head.log_std, 0.3))
    assert not module.head.log_std.requires_grad


def test_exploration_learns_if_asked(fit):
    module = fit(learn_std=True, initial_std=0.5, final_std=0.3)
    std = module.head.log_std.detach().exp()
    assert (std != 0.5).all()
    assert (std > 0.4).all()


class Record(Callback):
    """Logged metrics and the step size after every update; the weights before the first."""

    def on_train_start(self, trainer, pl_module):
        self.weights = {key: value.clone() for key, value in pl_module.state_dict().items()}
        self.rows = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.rows.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def test_training_changes_every_weight_and_stays_finite(fit, config):
    record = Record()
    module = fit(record)
    after = module.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    still = [key for key, value in record.weights.items() if key.startswith("actor") and torch.equal(value, after[key])]
    assert not still
    assert len(record.rows) == module.updates == 5
    assert all(np.isfinite(list(row.values())).all() for row in record.rows)
    assert [row["frames"] for row in record.rows] == [32, 64, 96, 128, 160]
    low, high = config.learning_rate_bounds
    assert all(0.999 * low <= row["learning_rate"] <= 1.001 * high for row in record.rows)
    assert all(row["kl"] > 0 for row in record.rows)


def test_frames_are_counted_over_all_ranks(fit, monkeypatch):
    monkeypatch.setattr(ppo, "world_size", lambda: 3)  # of three ranks, this is one
    module = fit()
    assert module.frames == module.updates * 3 * 32
    assert module.updates == 2  # of 160 frames


def test_the_normaliser_knows_everything_that_was_collected(fit):
    module = fit()
    assert module.normalizer.count == 4 * 16 + module.frames  # a first look, then every rollout


def test_an_environment_that_breaks_too_often_stops_training(fit, at_update):
    def poison(trainer, module):
        module.env.quarantine.world_steps = 2000
        module.env.quarantine.count.fill_(1000)

    with pytest.raises(SimulationError, match="1000 of"):
        fit(at_update(1, poison))


@pytest.mark.parametrize("kl_stop", [0.0, 1e-6])
def test_an_update_ends_early_when_the_policy_has_changed_enough(kl_stop, fit):
    record = Record()
    fit(record, kl_stop=kl_stop)
    assert {row["epochs"] for row in record.rows} == {1.0 if kl_stop else 2.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "muon", "hidden": (16, 16), "residual": True, "weight_decay": 0.01},
        {"distribution": "beta"},
        {"noise_correlation": 0.5, "noise_memory": 0.1},
        {"normalize_values": True},
        {"symmetry": "augment"},
        {"symmetry": "loss", "symmetry_weight": 0.5},
        {"env": {"critic_observations": ("muscle_force", "foot_force")}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_choice_trains_every_weight(changes, fit):
    record = Record()
    module = fit(record, **changes)
    after = module.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    learned = {f"head.{name}" for name, p in module.head.named_parameters() if p.requires_grad}
    learned |= {f"value_head.{name}" for name, p in module.value_head.named_parameters()}
    assert not [key for key in learned if torch.equal(record.weights[key], after[key])]
    assert all(row["kl"] > 0 for row in record.rows)


def test_images_have_the_density_of_the_policy_that_sees_the_mirror(ready):
    module = ready(symmetry="augment", noise_memory=0.1)
    samples = module.rollouts.collect(8).exclude("next").reshape(-1)
    samples["advantage"] = torch.randn(len(samples), 1)
    image = module._image(samples)
    swap = module.symmetry.observations["observation"]
    torch.testing.assert_close(swap(image["observation"]), samples["observation"])
    assert torch.equal(image["advantage"], samples["advantage"])
    torch.testing.assert_close(
        module._image(image)["action_log_prob"], samples["action_log_prob"], rtol=1e-4, atol=1e-4
    )
    with torch.no_grad():
        loc, scale = module.head(image["observation"], image["noise"])
    action = image["action"].double().numpy()
    density = scipy.stats.norm.logpdf(scipy.special.logit(action), loc, scale) - np.log(action * (1 - action))
    np.testing.assert_allclose(image["action_log_prob"], density.sum(-1), rtol=1e-3, atol=1e-3)


def test_a_loss_of_symmetry_makes_the_mean_action_its_own_image(ready):
    module = ready(symmetry="loss")
    samples = module.rollouts.collect(8).exclude("next").reshape(-1)
    optimizer = torch.optim.Adam(module.head.network.parameters(), lr=1e-2)
    before = float(module._asymmetry(samples))
    for _ in range(200):
        optimizer.zero_grad()
        module._asymmetry(samples).backward()
        optimizer.step()
    assert float(module._asymmetry(samples)) < 0.05 * before


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest(make_ppo):
    module = make_ppo(optimizer="muon", hidden=(16, 16, 16))
    module.build(5, 3, {})
    adamw, muon = module.configure_optimizers()
    taken = [{id(p) for group in x.param_groups for p in group["params"]} for x in (adamw, muon)]
    assert not taken[0] & taken[1]
    assert taken[0] | taken[1] == {id(p) for p in module.loss.parameters() if p.requires_grad}
    assert {p.shape for group in muon.param_groups for p in group["params"]} == {(16, 16)}
    assert len(taken[1]) == 4  # two of the actor, two of the critic


def test_only_matrices_decay(make_ppo):
    module = make_ppo(weight_decay=0.5)
    module.build(5, 3, {})
    for group in module.configure_optimizers()[0].param_groups:
        assert {p.ndim == 2 for p in group["params"]} == {group["weight_decay"] == 0.5}


def test_noise_with_a_memory_has_it_and_its_density_is_exact(ready):
    memory, dt = 0.1, 0.02
    module = ready(noise_memory=memory, env={"episode_seconds": 60.0, "terminations": {}})
    rollout = module.rollouts.collect(600)
    with torch.no_grad():
        loc, scale = module.head(rollout["observation"])
        noise = (torch.logit(rollout["action"]) - loc) / scale
        again = module.actor.get_dist(rollout).log_prob(rollout["action"])
    going = ~rollout["next", "done"][:, :-1, 0]
    pairs = torch.stack((noise[:, :-1][going].flatten(), noise[:, 1:][going].flatten()))
    assert float(torch.corrcoef(pairs)[0, 1]) == pytest.approx(np.exp(-dt / memory), abs=0.05)
    assert float(noise.std()) == pytest.approx(1.0, abs=0.1)
    torch.testing.assert_close(again, rollout["action_log_prob"], rtol=1e-4, atol=1e-4)


def test_noise_does_not_outlive_an_episode_and_begins_as_wide_as_it_goes_on(ready):
    std = 0.5
    module = ready(noise_memory=10.0, initial_std=std, env={"episode_seconds": 0.06, "terminations": {}})
    rollout = module.rollouts.collect(60)
    begun = rollout["next", "done"][:, :-1, 0]
    noise = rollout["noise"]
    assert begun.any()
    before, after = noise[:, :-1][begun].flatten(), noise[:, 1:][begun].flatten()
    assert abs(float(torch.corrcoef(torch.stack((before, after)))[0, 1])) < 0.2
    assert float(after.std()) == pytest.approx(std, rel=0.1)
    kept = noise[:, 1:][~begun] - module.head.kept * noise[:, :-1][~begun]
    assert float(kept.std()) < 0.1 * std  # within an episode it hardly changes


def test_without_a_trainer_there_is_no_environment(make_ppo):
    with pytest.raises(ConfigError, match="setup"):
        make_ppo().env  # noqa: B018


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("total_frames", 0),
        ("horizon", 0),
        ("epochs", 0),
        ("minibatch", -1),
        ("learning_rate", 0.0),
        ("kl_target", 0.0),
        ("initial_std", 0.0),
        ("gamma", 1.5),
        ("lam", -0.1),
        ("initial_excitation", 1.0),
        ("final_std", 0.0),
        ("kl_target_end", -1.0),
        ("clip", 0.0),
        ("max_grad_norm", 0.0),
        ("hidden", (0,)),
        ("learning_rate_bounds", (1e-2, 1e-5)),
        ("learning_rate_bounds", (0.0, 1e-5)),
        ("critic_weight", -1.0),
        ("entropy_weight", -1.0),
        ("gamma", float("nan")),
        ("learning_rate", float("nan")),
        ("learning_rate", 0.1),
        ("reflex", float("nan")),
        ("entropy_weight", 0.01),
        ("kl_stop", -1.0),
        ("weight_decay", -0.1),
        ("noise_correlation", 1.0),
        ("noise_memory", float("nan")),
    ],
)
def test_a_bad_number_names_its_key(name, value):
    with pytest.raises(ConfigError, match=rf"ppo\.{name}"):
        PPOConfig(**{name: value})


def test_an_end_of_exploration_that_is_learned_anyway_is_refused():
    with pytest.raises(ConfigError, match=r"ppo\.final_std is 0\.1.*learn_std"):
        PPOConfig(learn_std=True, final_std=0.1)
    assert PPOConfig(learn_std=True, entropy_weight=0.01).entropy_weight == 0.01


def test_residual_layers_need_equal_neighbours():
    with pytest.raises(ConfigError, match=r"ppo\.residual"):
        PPOConfig(residual=True, hidden=(64, 32))


@pytest.mark.parametrize(("name", "value"), [("noise_correlation", 0.5), ("noise_memory", 0.1), ("initial_std", 1.5)])
def test_what_beta_excitations_cannot_have_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"ppo\.{name}.*beta"):
        PPOConfig(**{"distribution": "beta", name: value})


def test_an_update_that_is_not_finite_ends_the_run_and_is_not_saved(fit, at_update, tmp_path):
    def poison(trainer, module):
        module.head.network[0].weight.register_hook(lambda gradient: gradient * float("inf"))

    with pytest.raises(TrainingError, match="update 3 is not finite"):
        fit(Checkpoints(tmp_path), at_update(2, poison))
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["musclewarp"]["updates"] == 2
    assert all(value.isfinite().all() for value in saved["state_dict"].values())


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"optimizer": "muon", "hidden": (16,)}, "optimizer"),
        ({"distribution": "beta", "final_std": 1.5}, "final_std"),
        ({"distribution": "beta", "learn_std": True}, "learn_std"),
    ],
)
def test_what_would_have_no_effect_or_no_peak_is_refused(changes, key):
    with pytest.raises(ConfigError, match=rf"ppo\.{key}"):
        PPOConfig(**changes)


@pytest.mark.parametrize(
    ("env", "changes", "why"),
    [
        ({"observations": ("joint_pos", "activation")}, {"reflex": 0.5}, "without 'stretch' or"),
        ({"observations": ("joint_pos", "reference_activation")}, {"initial_excitation": 0.3}, "with 'reference_act"),
        ({"control": ControlConfig(mode="joint_targets")}, {"reflex": 0.5}, "with env.control.mode 'joint_targets'"),
        ({"control": ControlConfig(mode="joint_targets")}, {"initial_excitation": 0.3}, "'joint_targets'"),
    ],
)
def test_what_a_policy_of_the_task_would_not_take_is_refused(make_ppo, env, changes, why):
    with pytest.raises(ConfigError, match=rf"ppo\.{next(iter(changes))} is 0\.\d; leave it out .*{why}"):
        make_ppo(env=env, **changes).setup("fit")
    make_ppo(env=env).setup("fit")


def test_one_of_the_stretch_terms_is_enough_for_a_reflex(ready):
    module = ready(env={"observations": ("joint_pos", "stretch_velocity")}, reflex=0.5, initial_excitation=0.3)
    assert module.head.gains["stretch_velocity"].unique().item() == pytest.approx(0.05)


def test_the_activation_of_resets_is_refused_where_references_know_it(ready, arms, references, tmp_path):
    wave = Reference.load(references / f"wave{SUFFIX}")
    known = dataclasses.replace(wave, activations=np.full((wave.num_frames, arms.mj_model.nu), 0.1))
    known.save(tmp_path / f"known{SUFFIX}")
    assert ready(env={"initial_activation": 0.2}).env.config.initial_activation == 0.2
    with pytest.raises(ConfigError, match=r"env\.initial_activation is 0\.2; leave it out: all references know"):
        ready(env={"initial_activation": 0.2, "references": str(tmp_path)})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_say_nothing_without_effect(path):
    values = yaml.safe_load(path.read_text())
    refuse_unused(parse_config(EnvConfig, values["env"]), parse_config(PPOConfig, values["ppo"]))
