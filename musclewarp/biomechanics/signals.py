"""What gait, EMG and comparison share: checked arrays, zero-phase filters, runs of samples, peaks between samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import butter, sosfiltfilt

from musclewarp.errors import SignalError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def checked(values: ArrayLike, what: str, ndim: int | None = None) -> Floats:
    """`values` as finite float64, time along the first axis; `what` names them in errors.

    Raises:
        SignalError: fewer than two samples, another number of axes than `ndim`, or a sample that is not finite.
    """
    signal = np.asarray(values, dtype=np.float64)
    if signal.ndim == 0 or len(signal) < 2 or (ndim is not None and signal.ndim != ndim):
        axes = "" if ndim is None else f" along the first of {ndim} axes"
        raise SignalError(f"{what} has shape {signal.shape}; give at least two samples{axes}")
    if bad := np.argwhere(~np.isfinite(signal)).tolist():
        raise SignalError(f"{what} is not finite at index {bad[0]} ({len(bad)} such values); fill or cut the gap first")
    return signal


def zero_phase(signal: Floats, rate: float, order: int, low: float | None = None, high: float | None = None) -> Floats:
    """Butterworth filter, forwards and backwards along the first axis: no delay, and the squared gain of one pass.

    With `low` only a high-pass, with `high` only a low-pass, with both a band-pass. A low-pass has the gain
    1 / (1 + (tan(pi f / rate) / tan(pi high / rate))^(2 order)) at f Hz, so 1/2 (-6 dB) at the cut-off.

    Args:
        signal: `(T, ...)`.
        rate: Hz.
        order: of the design (scipy's N), one pass.
        low: lower cut-off in Hz.
        high: upper cut-off in Hz.

    Raises:
        SignalError: a cut-off is not between 0 and the Nyquist limit, or the signal is shorter than the filter's ends.
    """
    cutoffs = [edge for edge in (low, high) if edge is not None]
    if not cutoffs or cutoffs != sorted(set(cutoffs)) or not all(0.0 < edge < rate / 2 for edge in cutoffs):
        raise SignalError(f"cut-offs {cutoffs} Hz must ascend between 0 and half the sampling rate, {rate / 2:g} Hz")
    kind = "bandpass" if len(cutoffs) == 2 else "lowpass" if low is None else "highpass"
    sos = butter(order, cutoffs if len(cutoffs) == 2 else cutoffs[0], kind, fs=rate, output="sos")
    try:
        return np.asarray(sosfiltfilt(sos, signal, axis=0), dtype=np.float64)
    except ValueError as error:  # scipy names its own padding
        raise SignalError(f"{len(signal)} samples are too few for a {kind} filter of order {order}: {error}") from error


def runs(mask: Bools) -> NDArray[np.intp]:
    """First sample of, and first sample after, each run of true samples `(K, 2)`."""
    edges = np.diff(np.concatenate(([False], mask, [False])).astype(np.int8))
    return np.column_stack((np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)))


def debounced(mask: Bools, min_gap: float, min_run: float) -> Bools:
    """`mask (T,)` with gaps shorter than `min_gap` samples closed, then runs shorter than `min_run` dropped.

    What an end of the record cuts is kept: nobody knows how long it was.
    """
    result = mask.copy()
    for value, shortest in ((False, min_gap), (True, min_run)):
        for first, end in runs(result == value):
            if end - first < shortest and first > 0 and end < len(result):
                result[first:end] = not value
    return result


def vertex(before: float, at: float, after: float) -> tuple[float, float]:
    """Where, in samples from the middle one, the parabola through three samples has its vertex, and its height there.

    The middle sample itself where it is no extremum of three numbers.
    """
    curvature = before - 2.0 * at + after
    if not (curvature != 0.0 and (at - before) * (at - after) >= 0.0):  # so written, a NaN beside it is no extremum
        return 0.0, at
    offset = 0.5 * (before - after) / curvature
    return offset, at - 0.25 * (before - after) * offset
