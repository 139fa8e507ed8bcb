"""Where episodes start: at any frame alike, or more often where the policy fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from musclewarp.errors import require
from musclewarp.references.library import ReferenceLibrary


@dataclass(frozen=True)
class SamplingConfig:
    """How often episodes start where the policy fails; all frames are alike unless asked for.

    Attributes:
        floor: share of the starts, in (0, 1], that fall on all frames alike; the others favour segments of the clips
            in proportion to how often the policy fails there. 1 is off.
        segment_seconds: length of a segment; the last one of a clip may be shorter.
        rate: weight of one visit in a segment's moving failure rate, in (0, 1].
    """

    floor: float = 1.0
    segment_seconds: float = 1.0
    rate: float = 0.02

    def __post_init__(self) -> None:
        for name in ("floor", "rate"):
            require(self, f"env.sampling.{name}", 0.0 < getattr(self, name) <= 1.0, "give a number in (0, 1]")
        lasts = 0.0 < self.segment_seconds < float("inf")
        require(self, "env.sampling.segment_seconds", lasts, "give a time in s, such as 1")

    @property
    def on(self) -> bool:
        """Whether failures are favoured."""
        return self.floor < 1.0


class Starts:
    """Draws the clips and frames that episodes start at, and keeps how often the policy fails in each segment.

    A segment of n frames, of those N at which an episode can start, is drawn with the probability

        n / N (floor + (1 - floor) r / mean(r)),

    the mean being over frames; within it all frames are alike. r is an exponential moving average, from 1, over the
    visits of episodes to the segment: 1 for a failure, else 0. A failure counts for the segment where it happened, and
    for the one where the episode was a segment's time before, for who falls began to fall earlier.

    Args:
        config: see there.
        library: the clips.

    Attributes:
        rates: r `(S,)`, float64.
    """

    def __init__(self, config: SamplingConfig, library: ReferenceLibrary) -> None:
        self.config, self._library = config, library
        lengths, device = library.lengths, library.device
        frames = (lengths - 1).clamp(min=1)  # at least one step remains before the clip's end
        # off: each clip is a segment
        self._size = max(1, round(config.segment_seconds / library.dt)) if config.on else int(frames.max())
        counts = -(-frames // self._size)
        firsts = counts.cumsum(0) - counts
        self._clip = torch.arange(len(lengths), device=device).repeat_interleave(counts)
        self._frame = self._size * (torch.arange(len(self._clip), device=device) - firsts[self._clip])
        self._frames = (frames[self._clip] - self._frame).clamp(max=self._size)
        # off: in proportion to all frames
        self._shares = (self._frames if config.on else lengths).double()
        self._firsts, self._lasts = firsts, firsts + counts - 1
        self._open = torch.ones_like(lengths, dtype=torch.bool)
        self.rates = torch.ones_like(self._shares)
        self._visits = torch.zeros_like(self._clip)
        self._failures = self._visits.clone()
        self._cumulate()

    @property
    def probabilities(self) -> torch.Tensor:
        """Of each segment `(S,)`, float64, where all clips are open."""
        return self._weights() / self._shares.sum()

    @property
    def clip_probabilities(self) -> torch.Tensor:
        """Of each clip `(C,)`, float64, where all are open."""
        return torch.zeros_like(self._open, dtype=torch.float64).index_add_(0, self._clip, self.probabilities)

    def open(self, clips: torch.Tensor) -> None:
        """Let episodes start in `clips`, a mask `(C,)`, alone: there, they are as frequent among each other as ever."""
        self._open = clips.to(self._library.device)
        self._cumulate()

    def _mean(self) -> torch.Tensor:
        """Of the rates, over frames."""
        return (self._shares * self.rates).sum() / self._shares.sum()

    def _weights(self) -> torch.Tensor:
        mean = self._mean()
        normalised = torch.where(mean > 0, self.rates / mean, 1.0)
        return self._shares * (self.config.floor + (1.0 - self.config.floor) * normalised)

    def _cumulate(self) -> None:
        cumulated = (self._weights() * self._open[self._clip]).cumsum(0)
        self._cdf = cumulated / cumulated[-1]

    def draw(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips and frames `(N,)` from two numbers in [0, 1) for each world, float64 `(N,)`."""
        segment = torch.searchsorted(self._cdf, first, right=True)  # the last is 1
        return self._clip[segment], self._frame[segment] + (second * self._frames[segment]).long()

    def segment(self, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """Index of the segment that `frame` of `clip` (any equal shapes) lies in; a loop's come round again."""
        within = self._library.within(clip, frame)
        return torch.minimum(self._firsts[clip] + within // self._size, self._lasts[clip])

    def count(self, clip: torch.Tensor, frame: torch.Tensor, steps: torch.Tensor, failed: torch.Tensor) -> None:
        """Episodes `(N,)` have got to `frame` of `clip`, `steps` control steps from their starts, or `failed` there."""
        if not self.config.on:
            return
        now, last = self.segment(clip, frame), self.segment(clip, frame - 1)
        before = self.segment(clip, frame - (steps - 1).clamp(max=self._size))
        self._visits.index_add_(0, now, ((steps == 1) | (now != last)).long())
        self._failures.index_add_(0, now, failed.long())
        self._failures.index_add_(0, before, (failed & (before != now)).long())

    def update(self, reduce: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
        """Take into the rates what was counted since the last call, summed over processes by `reduce`; what to log."""
        if not self.config.on:
            return {}
        visits, failures = reduce(self._visits), reduce(self._failures)
        keep = (1.0 - self.config.rate) ** visits.double()
        # a failure may be counted later than its visit: each weighs as a visit of this time does
        gain = torch.where(visits > 0, (1.0 - keep) / visits.clamp(min=1), self.config.rate)
        self.rates = (keep * self.rates + gain * failures).clamp(max=1.0)
        self._visits.zero_()
        self._failures.zero_()
        self._cumulate()
        return {"segment_failure_mean": self._mean(), "segment_failure_max": self.rates.max()}

    def state(self) -> dict[str, torch.Tensor]:
        """For checkpoints; nothing where it is off."""
        kept = {"rates": self.rates, "visits": self._visits, "failures": self._failures} if self.config.on else {}
        return {f"starts.{name}": value.clone() for name, value in kept.items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """What `state` returned, for the same clips."""
        if self.config.on:
            self.rates, self._visits, self._failures = (
                state[f"starts.{name}"].to(self._library.device).clone() for name in ("rates", "visits", "failures")
            )
            self._cumulate()
