"""Which clips are held, where not all of them are: those that the sampling owes most come, between updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from musclewarp.envs.starts import Starts
from musclewarp.references.library import ReferenceLibrary

_TURNOVER = 1 / 8
"""Share of the frames that are held in clips that leave, or are free; larger: clips stay shorter, more is read."""


class Exchange:
    """Exchanges the clips that a library holds so that, in the long run, episodes start as `starts` asks of all clips.

    Each clip is owed its probability times all episodes that began, less those that began in it; over its probability,
    that is its lag: for how many episodes it has waited. The clips of greatest lag come, those of least lag leave: no
    more episodes start in them, and when the last world is gone they make room. Among those that stay, episodes start
    as `starts` says. So lags are bounded, and a clip's share of all episodes becomes its probability, however clips are
    packed and however many episodes an update has. (Stride scheduling: Waldspurger and Weihl 1995, MIT/LCS/TM-528.)

    Args:
        library: the clips. Where it holds none yet, it will; where it holds all, nothing is done.
        starts: where episodes start.
        seed: of the order in which clips come first, so that processes begin with different ones.
    """

    def __init__(self, library: ReferenceLibrary, starts: Starts, seed: int) -> None:
        self._library, self._starts = library, starts
        self._lengths = library.lengths.cpu()
        self._began = torch.zeros_like(library.lengths)
        self._leaving = torch.zeros_like(self._lengths, dtype=torch.bool)
        lag = torch.rand(len(self._lengths), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self._owed = lag * starts.clip_probabilities.cpu()
        if not library.held.any():
            library.hold(self._fetched(library.held, lag).nonzero().flatten().tolist())
        starts.open(library.held.to(library.device))

    def count(self, clip: torch.Tensor, mask: torch.Tensor) -> None:
        """Of the worlds, those in `mask (N,)` begin an episode in `clip (N,)`."""
        if self._library.streams:
            self._began.index_add_(0, clip, mask.long())

    def hold(self, clip: torch.Tensor) -> None:
        """Hold `clip` (any shape) and no other, if one of them is not held; no world must follow another."""
        clips = clip.unique().cpu()
        if not self._library.held[clips].all():
            self._library.hold(clips.tolist())
            self._leaving.fill_(False)
            self._starts.open(self._library.held)

    def update(self, followed: torch.Tensor, reduce: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
        """Exchange clips that no world follows, `followed (N,)`; what to log, summed over processes by `reduce`."""
        library = self._library
        if not library.streams:
            return {}
        began, probability = self._began.cpu(), self._starts.clip_probabilities.cpu()
        self._owed += began.sum() * probability - began
        self._began.zero_()
        lag = self._owed / probability
        before, done = library.held, self._leaving.clone()
        done[followed.cpu()] = False
        self._leaving &= ~done
        held = self._fetched(before & ~done, lag)
        library.hold(held.nonzero().flatten().tolist())
        self._leaving |= self._going(held & ~self._leaving, held, lag)
        self._starts.open(held & ~self._leaving)
        return {"clips_fetched": reduce((held & ~before).sum().float().to(library.device))}

    def _fetched(self, held: torch.Tensor, lag: torch.Tensor) -> torch.Tensor:
        """`held (C,)` and, by their lags, as many others as fit: the next one waits for room, and is not overtaken."""
        queue = lag.argsort(descending=True, stable=True)
        queue = queue[~held[queue]]
        fits = self._lengths[queue].cumsum(0) <= self._library.capacity - self._lengths[held].sum()
        fetched = held.clone()
        fetched[queue[fits]] = True
        return fetched

    def _going(self, staying: torch.Tensor, held: torch.Tensor, lag: torch.Tensor) -> torch.Tensor:
        """Who of `staying (C,)` makes room for the next clip, if that lags behind: the least lags, but one stays."""
        order = lag.argsort(stable=True)
        following = order[~held[order]][-1]
        wanted = max(int(self._lengths[following]), _TURNOVER * self._library.capacity)
        order = order[staying[order]]
        lengths = self._lengths[order]
        room = self._library.capacity - lengths.sum() + lengths.cumsum(0) - lengths  # before each goes
        going = (room < wanted) & (lag[order] < lag[following])
        going[-1] = False
        result = torch.zeros_like(staying)
        result[order[going]] = True
        return result

    def state(self) -> dict[str, torch.Tensor]:
        """For checkpoints; nothing where all clips are held."""
        if not self._library.streams:
            return {}
        kept = {"owed": self._owed, "began": self._began, "held": self._library.held, "leaving": self._leaving}
        return {f"exchange.{name}": value.clone() for name, value in kept.items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """What `state` returned, for the same clips and as much room."""
        if self._library.streams:
            owed, began, held, leaving = (state[f"exchange.{name}"] for name in ("owed", "began", "held", "leaving"))
            self._owed, self._leaving = owed.cpu().clone(), leaving.cpu().clone()
            self._began.copy_(began)
            self._library.hold(held.nonzero().flatten().tolist())
            self._starts.open(held.cpu() & ~self._leaving)
