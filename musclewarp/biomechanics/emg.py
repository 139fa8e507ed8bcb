"""EMG: from raw channels to envelopes, when muscles switch on, and which channels not to believe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.signal import welch

from musclewarp.biomechanics.signals import Floats, checked, runs, zero_phase
from musclewarp.errors import SignalError


@dataclass(frozen=True)
class EmgConfig:
    """How raw EMG becomes an envelope.

    Attributes:
        band: Hz; the upper edge is dropped (a high-pass remains) where sampling cannot carry it.
        band_order: of the band-pass, one pass of two.
        envelope: Hz, of the low-pass after rectification.
        envelope_order: of that low-pass, one pass of two.
    """

    band: tuple[float, float] = (20.0, 450.0)
    band_order: int = 4
    envelope: float = 6.0
    envelope_order: int = 2


@dataclass(frozen=True)
class OnsetConfig:
    """When a muscle is on (Hodges and Bui 1996, Electroencephalogr Clin Neurophysiol 101:511-519).

    Attributes:
        smoothing: Hz, low-pass of the rectified signal.
        deviations: standard deviations above the baseline's mean.
        window: s over which the mean must exceed the threshold too.
        min_burst: s; what is shorter is no burst.
    """

    smoothing: float = 50.0
    deviations: float = 3.0
    window: float = 0.025
    min_burst: float = 0.03


@dataclass(frozen=True)
class ArtefactConfig:
    """What makes a channel unbelievable; shares are between 0 and 1.

    Attributes:
        flat: s without any change of the signal.
        dead: RMS below this share of the median channel's.
        clipped: share of samples in runs of three or more at the very top or bottom.
        powerline: share of the band's power within 1 Hz of the mains frequency and its first harmonics.
        mains: Hz, the frequencies of mains looked for.
        motion: share of the power that lies below the band (De Luca et al. 2010, J Biomech 43:1573-1579,
            on why movement artefacts are cut off at 20 Hz).
        spike: band-passed peak over the 99th percentile of its size; about 2 to 4 in EMG, however bursty.
    """

    flat: float = 0.05
    dead: float = 0.02
    clipped: float = 5e-4
    powerline: float = 0.3
    mains: tuple[float, ...] = (50.0, 60.0)
    motion: float = 0.5
    spike: float = 6.0


@dataclass(frozen=True)
class ChannelReport:
    """What is wrong with a channel, in words and numbers; nothing, if it is usable."""

    name: str
    faults: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether nothing was found."""
        return not self.faults


def band_pass(raw: ArrayLike, rate: float, config: EmgConfig | None = None) -> Floats:
    """The part of `raw (T, ...)` that is EMG, zero-phase, in its unit.

    Raises:
        SignalError: not finite, too short, or sampled too slowly for the lower edge.
    """
    config = config or EmgConfig()
    low, high = config.band
    return zero_phase(checked(raw, "raw EMG"), rate, config.band_order, low, high if high < rate / 2 else None)


def envelope(raw: ArrayLike, rate: float, config: EmgConfig | None = None) -> Floats:
    """Linear envelope of raw EMG: band-pass, rectify, low-pass, all zero-phase; never negative.

    Args:
        raw: `(T, ...)`, any unit.
        rate: Hz.
        config: the filters.

    Raises:
        SignalError: see `band_pass`.
    """
    config = config or EmgConfig()
    rectified = np.abs(band_pass(raw, rate, config))
    return np.maximum(zero_phase(rectified, rate, config.envelope_order, high=config.envelope), 0.0)


def normalize(signal: ArrayLike, by: Literal["max", "mean"] | ArrayLike = "max") -> Floats:
    """An envelope in units of its own maximum or mean, or of what a maximal voluntary contraction gave.

    By "max" or "mean", levels of different muscles or people cannot be compared any more, only shape and timing.

    Args:
        signal: `(T, ...)`.
        by: "max", "mean", or the reference levels `(...)` themselves, such as those of a maximal contraction.

    Raises:
        SignalError: a level is not positive, or `by` is neither.
    """
    signal = checked(signal, "the envelope")
    if isinstance(by, str):
        if by not in {"max", "mean"}:
            raise SignalError(f"cannot normalise by '{by}': give 'max', 'mean', or the levels of a maximal contraction")
        levels = signal.max(axis=0) if by == "max" else signal.mean(axis=0)
    else:
        levels = np.broadcast_to(np.asarray(by, dtype=np.float64), signal.shape[1:])
    if bad := np.argwhere(~(levels > 0.0)).tolist():
        raise SignalError(f"channel {bad[0]} has the level {levels[tuple(bad[0])]:g}; a level to divide by is positive")
    return signal / levels


def bursts(
    emg: ArrayLike, rate: float, baseline: tuple[float, float], config: OnsetConfig | None = None, start: float = 0.0
) -> Floats:
    """When a muscle switches on and off, s `(K, 2)`.

    Rectified and smoothed, the signal is above the baseline's mean by some standard deviations, at the onset and on
    average over the window after it; it is off again when both are below (Hodges and Bui 1996). A burst that began
    before the record begins there; one that does not end, ends with it. The window makes onsets early where bursts are
    strong: in noise that grows tenfold by 6 ms typically and 30 ms at worst, thirtyfold by 11 and 45 ms.

    Args:
        emg: `(T,)`, band-passed.
        rate: Hz.
        baseline: from and to which time, in s, the muscle rests.
        config: threshold and durations.
        start: time of the first sample in s.

    Raises:
        SignalError: not finite, or a baseline that is outside the record or shorter than the window.
    """
    config = config or OnsetConfig()
    level = zero_phase(np.abs(checked(emg, "EMG", ndim=1)), rate, 2, high=config.smoothing)
    first, end = (round((time - start) * rate) for time in baseline)
    window = max(1, round(config.window * rate))
    if not 0 <= first <= end - window or end > len(level):
        raise SignalError(
            f"baseline {baseline} s must be at least {config.window} s long and within "
            f"{start:.3f} to {start + len(level) / rate:.3f} s"
        )
    rest = level[first:end]
    threshold = rest.mean() + config.deviations * rest.std(ddof=1)
    padded = np.concatenate((level, np.full(window - 1, level[-1])))
    ahead = np.convolve(padded, np.full(window, 1.0 / window), mode="valid")
    on, off = (level > threshold) & (ahead > threshold), (level <= threshold) & (ahead <= threshold)
    # what is neither goes on as it was
    decided = np.maximum.accumulate(np.where(on | off, np.arange(len(level)), 0))
    active = runs(on[decided])
    return start + active[np.diff(active)[:, 0] >= config.min_burst * rate] / rate


def quietest(emg: ArrayLike, rate: float, duration: float, start: float = 0.0) -> tuple[float, float]:
    """The `duration` seconds in which `emg (T,)`, band-passed, is least on average: a baseline where none was recorded.

    Its level is a little below that of rest proper, being the least of many.

    Raises:
        SignalError: not finite, or shorter than `duration`.
    """
    size = np.abs(checked(emg, "EMG", ndim=1))
    window = max(2, round(duration * rate))
    if window > len(size):
        raise SignalError(f"{len(size) / rate:.3f} s of EMG have no window of {duration} s")
    total = np.concatenate(([0.0], np.cumsum(size)))
    first = int(np.argmin(total[window:] - total[:-window]))
    return start + first / rate, start + (first + window) / rate


def check_channels(
    raw: ArrayLike,
    rate: float,
    names: Sequence[str],
    config: ArtefactConfig | None = None,
    emg_config: EmgConfig | None = None,
) -> tuple[ChannelReport, ...]:
    """What is wrong with each channel of raw EMG `(T, C)`, in any unit; gaps (NaN) are a fault as well.

    Raises:
        SignalError: `raw` is not `(T, C)` for the C `names`, or too short to filter.
    """
    config, emg_config = config or ArtefactConfig(), emg_config or EmgConfig()
    channels = np.asarray(raw, dtype=np.float64)
    if channels.ndim != 2 or channels.shape[1] != len(names):
        raise SignalError(f"raw EMG has shape {channels.shape}; give (T, {len(names)}) for channels {list(names)}")
    size = np.array([x[np.isfinite(x)].std() if np.isfinite(x).any() else 0.0 for x in channels.T])
    typical = float(np.median(size))
    return tuple(
        ChannelReport(name, tuple(_faults(channel, rate, float(rms), typical, config, emg_config)))
        for name, channel, rms in zip(names, channels.T, size)
    )


def _faults(
    channel: Floats, rate: float, rms: float, typical: float, config: ArtefactConfig, emg: EmgConfig
) -> list[str]:
    missing = int((~np.isfinite(channel)).sum())
    if missing:
        return [f"{missing} of {len(channel)} samples are missing"]
    still = runs(np.diff(channel) == 0.0)
    longest = (int(np.diff(still).max()) + 1) / rate if len(still) else 0.0
    if longest == len(channel) / rate:
        return ["flat: the signal never changes"]
    faults = []
    if longest >= config.flat:
        faults.append(f"flat: no change for {longest:.3f} s")
    if rms < config.dead * typical:
        faults.append(f"dead: {rms / typical:.1%} of the median channel's RMS")
    ends = [runs(channel == extreme) for extreme in (channel.min(), channel.max())]
    stuck = sum(int(n) for n in np.diff(np.concatenate(ends))[:, 0] if n >= 3)
    if stuck > config.clipped * len(channel):
        faults.append(f"clipped: {stuck} samples stay at {channel.min():g} or {channel.max():g}")
    return faults + _spectral_faults(channel - channel.mean(), rate, config, emg)


def _spectral_faults(channel: Floats, rate: float, config: ArtefactConfig, emg: EmgConfig) -> list[str]:
    faults = []
    frequency, power = welch(channel, rate, nperseg=min(len(channel), round(rate)))  # bins of 1 Hz
    in_band = (frequency >= emg.band[0]) & (frequency <= emg.band[1])
    for mains in config.mains:
        near = np.any([np.abs(frequency - k * mains) <= 1.0 for k in (1, 2, 3)], axis=0)
        if (share := float(power[near & in_band].sum() / power[in_band].sum())) > config.powerline:
            faults.append(f"powerline: {share:.0%} of the power at {mains:g} Hz and its harmonics")
    if (share := float(power[frequency < emg.band[0]].sum() / power.sum())) > config.motion:
        faults.append(f"motion: {share:.0%} of the power below {emg.band[0]:g} Hz")
    size = np.abs(band_pass(channel, rate, emg))
    peak, usual = float(size.max()), float(np.percentile(size, 99))
    if peak > config.spike * usual:
        at = int(size.argmax()) / rate
        faults.append(f"spike: a peak of {peak:g}, 99th percentile {usual:g}, {at:.3f} s after the beginning")
    return faults
