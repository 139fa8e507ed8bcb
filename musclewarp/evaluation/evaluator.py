"""One evaluator: every clip once from frame 0, or episodes from random frames; deterministic, never reset."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from musclewarp.envs import (
    ControlConfig,
    EnvConfig,
    ImitationEnv,
    PushConfig,
    SamplingConfig,
    TighteningConfig,
    VariationConfig,
)
from musclewarp.envs.state import State, Target
from musclewarp.envs.terminations import body_on_floor, site_deviation
from musclewarp.errors import ConfigError
from musclewarp.evaluation.metrics import EARLY, summarize
from musclewarp.evaluation.trial import Trial
from musclewarp.learning.policy import Policy
from musclewarp.models import MuscleModel
from musclewarp.references.library import ReferenceLibrary

Controller = Callable[[torch.Tensor], torch.Tensor]
_LARGEST_BATCH = 64
EPISODE_SECONDS = 20.0
NO_PUSHES = PushConfig()
THE_MODEL = VariationConfig()


@dataclass(frozen=True)
class SuccessRule:
    """When a frame counts as failed.

    Attributes:
        site_error: relative site error in m that no frame may exceed.
        root_error: distance of the root from the reference's in m that no frame may exceed.
        min_height: share of the standing height that the root must keep; models with feet only.
        body_on_floor: whether anything but a foot on the floor is a failure; models with feet only.
    """

    site_error: float
    root_error: float = float("inf")
    min_height: float = 0.6
    body_on_floor: bool = True

    @classmethod
    def of(cls, model: MuscleModel) -> SuccessRule:
        """0.08 m for arms alone; the published thresholds, `metrics.EARLY`, and not falling for a whole body."""
        if not model.feet:
            return cls(site_error=0.08)
        return cls(EARLY["relative_site_error_m"], EARLY["root_error_m"])

    def failed(self, model: MuscleModel, state: State, target: Target) -> torch.Tensor:
        """Worlds `(N,)` that break the rule now."""
        failed = site_deviation(state, target) > self.site_error
        failed |= (state.root_pos - target.now.root_pos).norm(dim=-1) > self.root_error
        if model.feet:
            failed |= state.root_pos[:, 2] < self.min_height * model.standing_root_height
            if self.body_on_floor:
                failed |= body_on_floor(state, target) > 0
        return failed


def zero_excitation(muscles: int) -> Controller:
    """Muscles that are never excited: what gravity does alone."""
    return lambda observation: observation.new_zeros(len(observation), muscles)


def policy_controller(policy: Policy) -> Controller:
    """The policy's deterministic action."""
    return policy.act


def run_trials(
    config: EnvConfig,
    model: MuscleModel,
    library: ReferenceLibrary,
    controller: Controller,
    name: str,
    on_step: Callable[[int, int], None] | None = None,
    seconds: float | None = None,
    starts: Sequence[tuple[int, int]] | None = None,
    seed: int = 0,
    pushes: PushConfig = NO_PUSHES,
    variation: VariationConfig = THE_MODEL,
) -> list[Trial]:
    """One trial per start under `controller`; frames after a failure are recorded too.

    Args:
        config: the task, but for its terminations, its pushes, its variation and the length of its episodes.
        model: who acts.
        library: the clips.
        controller: from observations to actions.
        name: of the controller.
        on_step: called with (done, total), control steps of all batches.
        seconds: for which a loop is followed; default: one cycle.
        starts: index of the clip, and its frame, at which each trial starts; default: every clip from its first.
        seed: of what the config leaves to chance, such as motor noise.
        pushes: what pushes the body meanwhile.
        variation: how the people of the trials, one drawn for each, differ from the model.

    Raises:
        ConfigError: `seconds` is less than a control step, or the model cannot be pushed so.
    """
    if seconds is not None and not library.dt <= seconds < float("inf"):
        raise ConfigError(f"evaluation of loops for {seconds} s: give at least a control step, {library.dt:g} s")
    starts = starts if starts is not None else [(clip, 0) for clip in range(library.num_clips)]
    clips, frames = torch.tensor(starts).T
    count, looping = library.lengths.cpu()[clips], (library.last > library.lengths).cpu()[clips]
    counts = torch.where(looping, count, count - frames)
    if seconds is not None:
        counts = torch.where(looping, round(seconds / library.dt) + 1, counts)
    practice = {"tightening": TighteningConfig(), "sampling": SamplingConfig()}
    conditions = {"pushes": pushes, "variation": variation}
    unlimited = dataclasses.replace(config, terminations={}, episode_seconds=1e9, **practice, **conditions)
    trials: list[Trial] = []
    batches = _batches(library, clips.tolist())
    total, done = sum(int(counts[batch].max()) - 1 for batch in batches), 0
    for number, batch in enumerate(batches):
        library.hold(clips[batch].tolist())
        env = ImitationEnv(
            unlimited, library.device, model=model, library=library, worlds=len(batch), seed=seed + number
        )
        recorder = _Recorder(env, SuccessRule.of(model))
        if variation.ranges:
            env.reset()  # draws who is in the worlds
        current = env.reset_to(clips[batch], frames[batch])
        recorder.record()
        for _ in range(int(counts[batch].max()) - 1):
            current["action"] = controller(current["observation"])
            current = env.step(current)["next"]
            recorder.record()
            done += 1
            if on_step is not None:
                on_step(done, total)
        trials += [recorder.trial(world, name, int(counts[i]), int(frames[i])) for world, i in enumerate(batch)]
    return trials


def _batches(library: ReferenceLibrary, clips: Sequence[int]) -> list[torch.Tensor]:
    """Which trials, of `clips`, run side by side: in order, as many as there are worlds and room for their clips."""
    batches: list[list[int]] = [[]]
    for number, clip in enumerate(clips):
        together = [clips[other] for other in batches[-1]]
        if len(together) == _LARGEST_BATCH or not library.fits([*together, clip]):
            batches.append([])
        batches[-1].append(number)
    return [torch.tensor(batch) for batch in batches]


def random_starts(library: ReferenceLibrary, episodes: int, seed: int = 0) -> list[tuple[int, int]]:
    """Clips and frames drawn as the environment does: long clips more often, at least a step before their end."""
    generator = np.random.default_rng(seed)
    lengths = library.lengths.cpu().numpy()
    clips = generator.choice(len(lengths), size=episodes, p=lengths / lengths.sum())
    return [(int(clip), int(frame)) for clip, frame in zip(clips, generator.integers(lengths[clips] - 1), strict=True)]


class _Recorder:
    """Collects every frame of an environment's worlds."""

    def __init__(self, env: ImitationEnv, rule: SuccessRule) -> None:
        self.env, self.rule = env, rule
        self.rows: list[dict[str, torch.Tensor]] = []
        self.failed: list[torch.Tensor] = []
        self.broken: list[torch.Tensor] = []

    def record(self) -> None:
        env, state, target = self.env, self.env.state, self.env.target
        values = {
            "qpos": env.engine.qpos.float(),
            "qvel": env.engine.qvel.float(),
            "muscle_length": env.engine.derived["actuator_length"].float(),
            "muscle_velocity": env.engine.derived["actuator_velocity"].float(),
        }
        for key in (
            "joint_pos",
            "joint_vel",
            "site_pos",
            "excitation",
            "activation",
            "muscle_force",
            "foot_force",
            "foot_cop",
        ):
            values[key] = getattr(state, key)
        broken = env.engine.unhealthy()
        if self.rows:  # what is not finite is not a measurement: the last one that was stands, and the frame has failed
            values = {
                key: torch.where(broken.view(-1, *[1] * (value.ndim - 1)), self.rows[-1][key], value)
                for key, value in values.items()
            }
        values |= {  # the reference goes on
            "reference_qpos": env.library.state(env.clip, env.frame)[0].float(),
            "reference_joint_pos": target.now.joint_pos,
            "reference_joint_vel": target.now.joint_vel,
            "reference_site_pos": target.now.site_pos,
            "recorded_site_pos": target.now.recorded_pos,
        }
        self.rows.append({key: value.clone() for key, value in values.items()})
        self.failed.append(self.rule.failed(env.model, state, target) | broken)
        self.broken.append(broken.clone())

    def trial(self, world: int, controller: str, frames: int, start: int) -> Trial:
        """The first of the recorded frames of one world, which began at the frame `start` of its clip."""
        env, model = self.env, self.env.model
        clip = int(env.clip[world])
        failed = torch.stack(self.failed)[:frames, world].cpu().numpy()
        broken = bool(torch.stack(self.broken)[:frames, world].any())
        return Trial(
            clip=env.library.names[clip],
            controller=controller,
            model=model.name,
            model_hash=model.hash,
            dt=env.library.dt,
            muscles=tuple(model.muscles.index),
            joints=tuple(model.dof_names[dof] for dof in model.joint_dofs),
            sites=model.sites,
            feet=model.feet,
            failed_at=int(failed.argmax()) if failed.any() else -1,
            arrays={
                key: np.stack([row[key][world].cpu().numpy() for row in self.rows[:frames]]) for key in self.rows[0]
            },
            source={"engine": type(env.engine).__name__, "start": start, "broken": broken},
        )


def evaluate(
    policy: Policy,
    model: MuscleModel,
    library: ReferenceLibrary,
    on_step: Callable[[str, int, int], None] | None = None,
    seconds: float | None = None,
    episodes: int = 0,
    other: tuple[str, ReferenceLibrary] | None = None,
    pushes: PushConfig = NO_PUSHES,
) -> tuple[dict[str, object], dict[str, list[Trial]]]:
    """A policy's numbers beside those of doing nothing and of not having learned; loops for `seconds` or one cycle.

    With `episodes`, so many of the policy's from random frames, too: loops for `seconds`, 20 by default. With
    `other`, an engine and the library on its device, the policy's clips on that one, too. All of it under `pushes`, if
    there are any.

    Returns:
        What `--json` writes, and the trials by controller, "policy", "untrained", "zero_excitation", and those of
        the policy's "episodes". Each summary
        is `evaluation.metrics.summarize`; "clips" has one for each clip of the policy, with its "name", and
        "episodes" the one of those from random frames, "other_engine" that on another engine, which it names, and
        "pushes" what the body was pushed by.
    """
    run = partial(run_trials, pushes=pushes)
    on_muscles = dataclasses.replace(policy.env, control=ControlConfig())
    controllers: Mapping[str, tuple[EnvConfig, Controller]] = {
        "policy": (policy.env, policy_controller(policy)),
        "untrained": (policy.env, policy_controller(policy.untrained())),
        "zero_excitation": (on_muscles, zero_excitation(model.mj_model.nu)),
    }

    def report(name: str) -> Callable[[int, int], None] | None:
        return None if on_step is None else partial(on_step, name)

    trials = {
        name: run(config, model, library, controller, name, report(name), seconds)
        for name, (config, controller) in controllers.items()
    }
    result: dict[str, object] = {name: summarize(group) for name, group in trials.items()}
    result["clips"] = [{"name": trial.clip, **summarize([trial])} for trial in trials["policy"]]
    if episodes:
        starts, length = random_starts(library, episodes), seconds or EPISODE_SECONDS
        config, acting = controllers["policy"]
        trials["episodes"] = run(config, model, library, acting, "policy", report("episodes"), length, starts)
        result["episodes"] = {"number": episodes, "seconds": length, **summarize(trials["episodes"])}
    if other is not None:
        engine, there = other
        config, acting = controllers["policy"]
        config = dataclasses.replace(config, engine=engine)
        again = run(config, model, there, acting, "policy", report(f"policy on {engine}"), seconds)
        result["other_engine"] = {"engine": engine, **summarize(again)}
    if pushes.on:
        result["pushes"] = dataclasses.asdict(pushes)
    return result, trials
