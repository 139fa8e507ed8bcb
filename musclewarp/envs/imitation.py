"""`ImitationEnv`: a TorchRL environment in which muscles imitate references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Composite, Unbounded
from torchrl.envs import EnvBase

from musclewarp.engines import make_engine
from musclewarp.engines.health import Quarantine
from musclewarp.envs import randomness
from musclewarp.envs.config import EnvConfig
from musclewarp.envs.control import make_control
from musclewarp.envs.exchange import Exchange
from musclewarp.envs.neural import NeuralPathway
from musclewarp.envs.observations import OBSERVATIONS
from musclewarp.envs.pushes import Pushes
from musclewarp.envs.rewards import EFFORT, TRACKING
from musclewarp.envs.starts import Starts
from musclewarp.envs.state import State, StateReader, Target
from musclewarp.envs.terminations import TERMINATIONS, site_deviation
from musclewarp.envs.tightening import Tightening
from musclewarp.envs.variation import Variation
from musclewarp.errors import ConfigError
from musclewarp.models import MuscleModel, load_model
from musclewarp.references.library import ReferenceLibrary, load_library
from musclewarp.threads import one_torch_thread


class ImitationEnv(EnvBase):
    """N worlds of one muscle model, each following a reference.

    The action is the excitation of every muscle `(N, M)`, or an offset for every joint `(N, J)`, as `config.control`
    says. Observations are float32, concatenated from the terms of the config. An episode starts at a random frame of a
    random clip (long clips are drawn more often), on the reference's state, which satisfies the joint couplings. It is
    `terminated` when a termination term passes its limit, or its world left the finite numbers (then the reward is 0
    and the observation the last finite one), and `truncated` when the clip, unless it is a loop, or `episode_seconds`
    ends.

    Besides TorchRL's keys, `step` writes `site_error (N, 1)`: mean distance of the sites to the reference relative
    to the root, m.

    Args:
        config: the task.
        device: where the tensors live; the engine "auto" follows it.
        seed: of all the environment's own randomness, with the world and the number of its reset.
        model, library: share what is loaded already; default: from the config. They must agree with it.
        worlds: number of worlds, instead of the config's.

    Raises:
        MusclewarpError: references are missing or do not fit the model, or a name in the config is unknown.
    """

    def __init__(
        self,
        config: EnvConfig,
        device: torch.device | str = "cpu",
        seed: int = 0,
        model: MuscleModel | None = None,
        library: ReferenceLibrary | None = None,
        worlds: int | None = None,
    ) -> None:
        self.config = config
        self.model = model or load_model(config.model, config.fingers, config.physics)
        num_worlds = worlds or config.num_worlds
        super().__init__(device=torch.device(device), batch_size=torch.Size([num_worlds]))
        self.library = library or load_library(config.references, self.model, self.device, config.library_mb)
        self._check_parts()
        self.variation = Variation(config.variation, self.model, num_worlds, self.device)
        self.neural = NeuralPathway(config.neural, self.model, num_worlds, self.device)
        fields, postures = self.variation.fields, self.library.postures
        self.engine = make_engine(config.engine, self.model, num_worlds, self.device, fields, postures)
        self.control = make_control(config.control, self.engine, self.library)
        folder = Path(config.dump_folder) if config.dump_folder else None
        self.quarantine = Quarantine(self.engine, folder, config.max_quarantined_fraction, config.pushes.on)
        self.starts = Starts(config.sampling, self.library)
        self.exchange = Exchange(self.library, self.starts, seed)
        self.tightening = Tightening(config.tightening, self.device)
        self.pushes = Pushes(config.pushes, self.engine)
        self._read_state = StateReader(self.engine)
        self._seed = seed
        self._worlds = torch.arange(num_worlds, device=self.device)
        self._clip = torch.full_like(self._worlds, int(self.library.held.nonzero()[0]))
        self._frame, self._steps, self._draws = (torch.zeros_like(self._worlds) for _ in range(3))
        self._instants = torch.tensor([0, *config.lookahead], device=self.device)
        self._all_known = self.library.knows_all
        self._max_steps = round(config.episode_seconds / self.model.physics.control_dt)
        terms = config.rewards
        self._reward_terms = [{**TRACKING, **EFFORT}[name] for name in terms]
        self._reward_weights, self._reward_scales = (
            torch.tensor([getattr(term, key) for term in terms.values()], device=self.device)
            for key in ("weight", "scale")
        )
        self._is_tracking = torch.tensor([name in TRACKING for name in terms], device=self.device)
        self._seen_by = {"observation": config.observations}
        if config.critic_observations:
            self._seen_by["critic_observation"] = config.critic_observations
        self._look()
        self._observations = self._observe()
        self._make_specs()

    def _check_parts(self) -> None:
        """A model or library that is handed in must be what the config says.

        Raises:
            ConfigError: it is not.
        """
        model, config, library = self.model, self.config, self.library
        wanted = config.model + ("_fingers" if config.fingers else "")
        if (model.name, model.physics) != (wanted, config.physics):
            raise ConfigError(
                f"the environment was given model '{model.name}' with {model.physics}, its config says '{wanted}' with "
                f"{config.physics}; make the model with: load_model(config.model, config.fingers, config.physics)"
            )
        if library.model_hash != model.hash or abs(library.dt - model.physics.control_dt) > 1e-9:
            raise ConfigError(
                f"the library was made for another model than '{model.name}', or for control steps of {library.dt:g} s "
                f"instead of {model.physics.control_dt:g} s; make it with: ReferenceLibrary(references, env.model)"
            )

    def _make_specs(self) -> None:
        n, device = self.batch_size, self.device
        single = torch.Size((*n, 1))
        self.observation_spec = Composite(
            {key: Unbounded(value.shape, device=device) for key, value in self._observations.items()},
            site_error=Unbounded(single, device=device),
            shape=n,
            device=device,
        )
        self.action_spec = self.control.action_spec
        self.reward_spec = Unbounded(single, device=device)
        flag = Binary(n=1, shape=single, dtype=torch.bool, device=device)
        self.full_done_spec = Composite(
            done=flag.clone(), terminated=flag.clone(), truncated=flag.clone(), shape=n, device=device
        )

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self._seed = seed
            self._draws.zero_()

    @one_torch_thread()
    def _reset(self, tensordict: TensorDictBase | None = None, **_: object) -> TensorDictBase:
        mask = None if tensordict is None else tensordict.get("_reset", None)
        mask = torch.ones_like(self._worlds, dtype=torch.bool) if mask is None else mask.view(-1)
        first, second = (randomness.uniform(self._seed, self._worlds, self._draws, stream) for stream in (0, 1))
        clip, frame = self.starts.draw(first, second)
        self.exchange.count(clip, mask)
        self.variation.draw(mask, self._seed, self._draws)
        self.variation.write(self.engine.varied)
        self._draws += mask
        return self._start(mask, clip, frame)

    def reset_to(self, clip: torch.Tensor, frame: torch.Tensor) -> TensorDictBase:
        """Start every world at `frame (N,)` of `clip (N,)` (indices into `library.names`), for evaluation.

        Who is in them stays: until the first `reset`, the model as it is, whatever `config.variation` says.
        """
        self.exchange.hold(clip)
        everyone = torch.ones_like(self._worlds, dtype=torch.bool)
        self._start(everyone, clip.to(self.device), frame.to(self.device))
        return self.current()

    def current(self) -> TensorDictBase:
        """What a policy acts on now, as `reset` returns it: the worlds as they are, none of them done."""
        return self._observed().update(self.full_done_spec.zero())

    def _start(self, mask: torch.Tensor, clip: torch.Tensor, frame: torch.Tensor) -> TensorDictBase:
        self._clip = torch.where(mask, clip, self._clip)
        self._frame = torch.where(mask, frame, self._frame)
        self._steps = torch.where(mask, 0, self._steps)
        row = self.library.index(self._clip, self._frame)
        activation = self._fill_activation(row, self.library.activation[row].to(self.engine.dtype))
        self.engine.reset(mask, *self.library.state(self._clip, self._frame), activation)
        self.control.reset(mask)
        self.neural.reset(mask, activation)
        self._look()
        self._observations = self._observe()
        return self._observed()

    def _observed(self) -> TensorDictBase:
        return TensorDict(
            {**self._observations, "site_error": self._site_error[:, None]},
            batch_size=self.batch_size,
            device=self.device,
        )

    @one_torch_thread()
    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        command = self.control(tensordict["action"], self._clip, self._frame)
        self.engine.ctrl.copy_(self.neural(command, self._seed, self._draws, self._steps))
        self.pushes.apply(self._seed, self._draws, self._steps)
        self.quarantine.remember()
        self.engine.step()
        broken = self.quarantine.inspect()
        self._frame = self._frame + 1
        self._steps = self._steps + 1
        self._look()
        terminated, reward = self._failed(), self._reward()
        # a broken world says nothing: its numbers are replaced, not repaired, and its episode ends here
        terminated = terminated | broken
        reward = torch.where(broken, 0.0, reward)
        self._observations = {
            key: torch.where(broken[:, None], self._observations[key], new) for key, new in self._observe().items()
        }
        ended = (self._frame >= self.library.last[self._clip]) | (self._steps >= self._max_steps)
        truncated = ended & ~terminated
        self.starts.count(self._clip, self._frame, self._steps, terminated)
        self.tightening.count(terminated, ended | terminated)
        return TensorDict(
            {
                **self._observations,
                "site_error": torch.where(broken, 0.0, self._site_error)[:, None],
                "reward": reward[:, None],
                "terminated": terminated[:, None],
                "truncated": truncated[:, None],
                "done": (terminated | truncated)[:, None],
            },
            batch_size=self.batch_size,
            device=self.device,
        )

    def _look(self) -> None:
        """Read what all terms see: the state, the target, and how far the sites are from it."""
        self.state: State = self._read_state()
        clip, frame = self._clip[:, None], self._frame[:, None] + self._instants
        index = self.library.index(clip, frame)
        rows = self.library.rows(index, clip, frame)
        self.target: Target = Target(now=self.library.goal_of(rows[:, 0]), ahead=self.library.goal_of(rows[:, 1:]))
        if not self._all_known:
            for goal, of in ((self.target.now, index[:, 0]), (self.target.ahead, index[:, 1:])):
                goal.activation = self._fill_activation(of, goal.activation)
        self._site_error = site_deviation(self.state, self.target)

    def _fill_activation(self, row: torch.Tensor, activation: torch.Tensor) -> torch.Tensor:
        """`activation (..., M)` of frames `row (...)`, where the reference knows none the config's."""
        return torch.where(self.library.has_activation[row].unsqueeze(-1), activation, self.config.initial_activation)

    def _observe(self) -> dict[str, torch.Tensor]:
        """What the policy, and the critic besides, see now, each `(N, D)`."""
        return {who: self.see(terms) for who, terms in self._seen_by.items()}

    def see(self, terms: Sequence[str]) -> torch.Tensor:
        """What `terms` of `envs.observations` say now, side by side, `(N, D)`."""
        return torch.cat([OBSERVATIONS[name](self.state, self.target).flatten(1) for name in terms], dim=-1)

    def _reward(self) -> torch.Tensor:
        errors = torch.stack([term(self.state, self.target) for term in self._reward_terms], dim=-1)
        errors = errors / self._reward_scales
        return torch.where(self._is_tracking, torch.exp(-errors), -errors) @ self._reward_weights

    def _failed(self) -> torch.Tensor:
        failed = torch.zeros(self.batch_size, dtype=torch.bool, device=self.device)
        for name, limit in self.config.terminations.items():
            term = TERMINATIONS[name]
            value = self._site_error if term is site_deviation else term(self.state, self.target)
            failed |= value > limit * self.tightening.scale
        return failed

    def practise(self, reduce: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
        """Choose by the episodes since the last call where the next ones start, and how soon they fail; what to log.

        Call it between rollouts; it does what `config.sampling`, `library_mb` and `tightening` ask for. `reduce` sums
        over all processes, which choose alike, but for the clips that they hold.
        """
        told = self.exchange.update(self._clip, reduce)  # first: by the probabilities with which episodes started
        return told | self.starts.update(reduce) | self.tightening.update(reduce)

    def observation_columns(self, name: str) -> slice:
        """Where the term `name` lies in the observation; an empty slice if the config does not name it."""
        start = 0
        for term in self.config.observations:
            size = OBSERVATIONS[term](self.state, self.target)[0].numel()
            if term == name:
                return slice(start, start + size)
            start += size
        return slice(0, 0)

    @property
    def clip(self) -> torch.Tensor:
        """Index `(N,)` of the clip that each world follows."""
        return self._clip

    @property
    def frame(self) -> torch.Tensor:
        """Frame `(N,)` of the clip that each world is at."""
        return self._frame

    @property
    def steps(self) -> torch.Tensor:
        """Control steps `(N,)` since each world's reset."""
        return self._steps

    def snapshot(self) -> dict[str, torch.Tensor]:
        """Everything that decides how the worlds go on: for checkpoints that resume bit by bit."""
        engine = self.engine
        live = {name: getattr(engine, name).clone() for name in ("qpos", "qvel", "act", "ctrl", "qacc_warmstart")}
        cursors = {"clip": self._clip, "frame": self._frame, "steps": self._steps, "draws": self._draws}
        # muscle forces and contacts belong to the last physics step, which cannot be computed again
        cursors |= self._observations
        cursors["seed"] = torch.tensor(self._seed)
        return (
            live
            | {name: cursor.clone() for name, cursor in cursors.items()}
            | self.variation.state()
            | self.control.state()
            | self.neural.state()
            | self.starts.state()
            | self.exchange.state()
            | self.tightening.state()
        )

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on where `snapshot` was taken."""
        everyone = torch.ones_like(self._worlds, dtype=torch.bool)
        self.variation.load(state)
        self.control.load(state)
        self.neural.load(state)
        self.starts.load(state)
        self.exchange.load(state)
        self.tightening.load(state)
        self.variation.write(self.engine.varied)
        self.engine.reset(everyone, *(state[name].to(self.device) for name in ("qpos", "qvel", "act")))
        for name in ("ctrl", "qacc_warmstart"):
            getattr(self.engine, name).copy_(state[name])
        self._clip, self._frame, self._steps, self._draws = (
            state[name].to(self.device).clone() for name in ("clip", "frame", "steps", "draws")
        )
        self._look()
        self._observations = {key: state[key].to(self.device).clone() for key in self._seen_by}
        self._seed = int(state["seed"])
