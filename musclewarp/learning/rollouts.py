"""Rollouts: one TensorDict of N worlds by T steps is one batch of Lightning's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from musclewarp.envs import ImitationEnv
from musclewarp.threads import one_torch_thread

_KEYS = ("action", "action_log_prob")
_OPTIONAL = ("teacher_action",)
_NEXT = ("reward", "terminated", "truncated", "done", "site_error")


class Rollouts:
    """Rollouts of a policy, each going on where the last one stopped, until `exhausted()`.

    It has a length, `updates`, because Lightning fetches a batch ahead from what has none: the policy would then learn
    from what its predecessor did.
    """

    def __init__(
        self,
        env: ImitationEnv,
        policy: TensorDictModuleBase,
        horizon: int,
        updates: int,
        exhausted: Callable[[], bool],
        first_noise: Callable[[Sequence[int]], torch.Tensor] | None = None,
    ) -> None:
        self.env, self.horizon, self.updates, self.exhausted = env, horizon, updates, exhausted
        self.current: TensorDictBase | None = None
        self._seen = [key for key in ("observation", "critic_observation") if key in env.observation_spec]
        self._first_noise = first_noise
        self.follow(policy)

    def follow(self, policy: TensorDictModuleBase) -> None:
        """Collect with `policy` from here on."""
        self.policy = policy
        self._kept = [*self._seen, *_KEYS, *(key for key in _OPTIONAL if key in policy.out_keys)]

    @property
    def noise(self) -> torch.Tensor | None:
        """What the policy remembers of its exploration `(N, M)`, for checkpoints; None if nothing."""
        return None if self.current is None else self.current.get("noise", None)

    def go_on(self, noise: torch.Tensor | None) -> None:
        """From the worlds as they are, with the `noise` that was remembered there."""
        current = self.env.current()
        if noise is not None:
            current["noise"] = noise.to(self.env.device)
        self.current = current

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[TensorDictBase]:
        while not self.exhausted():
            yield self.collect(self.horizon)

    @torch.no_grad()
    @one_torch_thread()
    @set_exploration_type(ExplorationType.RANDOM)  # TorchRL's default outside its collectors is the mean action
    def collect(self, steps: int) -> TensorDictBase:
        """The next rollout `(N, steps)`; "next" holds what followed each action, before any reset."""
        current = self.env.reset() if self.current is None else self.current
        if self._first_noise and "noise" not in current:
            current["noise"] = self._first_noise(self.env.batch_size)
        rows: list[TensorDictBase] = []
        for _ in range(steps):
            row, current = self.env.step_and_maybe_reset(self.policy(current))
            following = row["next"]
            kept = TensorDict({key: row[key] for key in self._kept}, batch_size=row.batch_size)
            kept["next"] = TensorDict({key: following[key] for key in (*self._seen, *_NEXT)}, batch_size=row.batch_size)
            if self._first_noise:
                kept["noise"] = row["noise"]
                current["noise"] = torch.where(
                    following["done"], self._first_noise(self.env.batch_size), following["noise"]
                )
            rows.append(kept)
        carried = ["noise"] if self._first_noise else []
        self.current = current.select(*self._seen, *carried, "done", "terminated", "truncated", "site_error")
        rollout = TensorDict.stack(rows, dim=1)
        rollout.names = [None, "time"]
        return rollout
