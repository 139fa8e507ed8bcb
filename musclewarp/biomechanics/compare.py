"""How alike two movements' curves are: shape, timing, error, and the pattern of all muscles.

A gait cycle runs from 0 to 100 % inclusive, and its last point is the first of the next: where cycles are shifted
against one another, that point is left out. A lag is positive when the first curve (simulated) comes after the second
(measured). A curve that does not change has no correlation: NaN, not zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.signal import correlate
from scipy.stats import rankdata

from musclewarp.biomechanics.signals import Floats, checked, vertex
from musclewarp.errors import SignalError


class Lag(NamedTuple):
    """The shift in s at which two curves correlate best, and their correlation there."""

    seconds: float
    r: float


@dataclass(frozen=True)
class CurveComparison:
    """One simulated curve against its measured one.

    Attributes:
        signal: name.
        r: Pearson's correlation.
        lag_s: by how much the simulated curve comes later, where they correlate best.
        r_at_lag: their correlation there.
        rmse: in the curves' unit, or in shares of their own maxima (`compare_curves`).
        peak_lag_s: by how much the simulated curve's highest point comes later.
    """

    signal: str
    r: float
    lag_s: float
    r_at_lag: float
    rmse: float
    peak_lag_s: float


def pearson(first: ArrayLike, second: ArrayLike) -> float:
    """Pearson's correlation of two curves `(P,)`; NaN if one does not change.

    Raises:
        SignalError: lengths differ, or a value is not finite.
    """
    a, b = _pair(first, second)
    return float("nan") if _still(a, b) else _correlation(a, b)


def best_lag(
    first: ArrayLike, second: ArrayLike, dt: float, cyclic: bool, max_lag: float | None = None, subsample: bool = True
) -> Lag:
    """By how much `first` comes after `second`, where they correlate best.

    Cyclic, a curve is turned on its circle. Plain, it is shifted, and Pearson's r taken over what overlaps.

    Args:
        first: `(P,)`.
        second: `(P,)`.
        dt: s between points.
        cyclic: the curves are gait cycles, 0 to 100 %.
        max_lag: s to either side; by default half a cycle, or a quarter of a plain record.
        subsample: refine the lag, by a parabola through the best three, beyond the sampling.

    Returns:
        NaN where they correlate still better beyond `max_lag`: then there is no best lag within it.

    Raises:
        SignalError: lengths differ, or a value is not finite.
    """
    a, b = _pair(first, second)
    if cyclic:
        a, b = a[:-1], b[:-1]
    if _still(a, b):
        return Lag(float("nan"), float("nan"))
    widest = len(a) // 2 if cyclic else max(1, len(a) // 4)
    reach = widest if max_lag is None else min(widest, int(max_lag / dt + 1e-9))
    lags = np.arange(-reach - 1, reach + 2)  # one more to either side, for the parabola
    r = _circular(a, b, lags) if cyclic else _shifted(a, b, lags)
    if np.isnan(r[1:-1]).all():
        return Lag(float("nan"), float("nan"))
    best = 1 + int(np.nanargmax(r[1:-1]))
    if np.nanmax(r[best - 1 : best + 2]) > r[best]:  # the best is at the bound, and no peak
        return Lag(float("nan"), float("nan"))
    offset, height = vertex(*r[best - 1 : best + 2]) if subsample else (0.0, float(r[best]))
    return Lag(float((lags[best] + offset) * dt), float(min(height, 1.0)))


def rmse(first: ArrayLike, second: ArrayLike) -> float:
    """Root mean square of the difference of two curves `(P,)`, in their unit.

    Raises:
        SignalError: lengths differ, or a value is not finite.
    """
    a, b = _pair(first, second)
    return float(np.sqrt(np.mean((a - b) ** 2)))


def peak_time(curve: ArrayLike, dt: float, cyclic: bool) -> float:
    """When the curve `(P,)` is highest, s after its beginning, between samples by a parabola.

    Raises:
        SignalError: a value is not finite.
    """
    values = checked(curve, "the curve", ndim=1)
    values = values[:-1] if cyclic else values
    top = int(values.argmax())
    if not cyclic and top in {0, len(values) - 1}:
        return top * dt
    before, at, after = values[[top - 1, top, (top + 1) % len(values)]]
    return (top + vertex(before, at, after)[0]) * dt


def compare_curves(
    simulated: ArrayLike,
    measured: ArrayLike,
    names: Sequence[str],
    duration: float,
    cyclic: bool = True,
    of_maximum: bool = False,
    max_lag: float | None = None,
) -> tuple[CurveComparison, ...]:
    """Every simulated curve against its measured one.

    Args:
        simulated: `(P, M)`.
        measured: `(P, M)`, at the same instants.
        names: of the M signals.
        duration: s from the first point to the last.
        cyclic: the curves are gait cycles, 0 to 100 %.
        of_maximum: divide each curve by its own maximum before the RMSE, as for EMG that is normalised by its maximum,
            whose level means nothing: shape and timing are compared. A muscle that is silent throughout stays so.
        max_lag: s, see `best_lag`.

    Raises:
        SignalError: shapes differ, or a value is not finite.
    """
    a, b = checked(simulated, "the simulated curves", ndim=2), checked(measured, "the measured curves", ndim=2)
    if a.shape != b.shape or a.shape[1] != len(names):
        raise SignalError(f"simulated {a.shape} and measured {b.shape} must both be (P, {len(names)}), as the names")
    dt = duration / (len(a) - 1)
    comparisons = []
    for name, x, y in zip(names, a.T, b.T):
        lag = best_lag(x, y, dt, cyclic, max_lag)
        peaks = peak_time(x, dt, cyclic) - peak_time(y, dt, cyclic)
        if cyclic:
            peaks = (peaks + duration / 2) % duration - duration / 2
        if _still(x, y):
            peaks = float("nan")
        error = rmse(_of_maximum(x), _of_maximum(y)) if of_maximum else rmse(x, y)
        comparisons.append(CurveComparison(name, pearson(x, y), lag.seconds, lag.r, error, peaks))
    return tuple(comparisons)


def comparison_table(
    comparisons: Sequence[CurveComparison], ceilings: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """One row per comparison, indexed by signal, with the `ceiling_r` of those that have one."""
    table = pd.DataFrame(list(comparisons)).set_index("signal")
    return table.assign(ceiling_r=[(ceilings or {}).get(name, float("nan")) for name in table.index])


def similarity_matrix(signals: ArrayLike) -> Floats:
    """Pearson's correlation of every muscle with every other over time, `(M, M)` from `(T, M)`.

    Raises:
        SignalError: fewer than three muscles, or one that does not change and so correlates with nothing.
    """
    values = checked(signals, "the muscles' signals", ndim=2)
    if values.shape[1] < 3:
        raise SignalError(f"{values.shape[1]} muscles have no pattern of similarities; give at least three")
    if still := np.flatnonzero(np.ptp(values, axis=0) == 0.0).tolist():
        raise SignalError(f"the signals in columns {still} do not change and correlate with nothing; leave them out")
    return np.asarray(np.corrcoef(values, rowvar=False))


def similarity_ranks(signals: ArrayLike) -> Floats:
    """Ranks of the correlations of every two muscles, `(M (M - 1) / 2,)` from `(T, M)`: a pattern of coordination.

    Pearson's r of two people's is Spearman's rho of their patterns.

    Raises:
        SignalError: see `similarity_matrix`.
    """
    matrix = similarity_matrix(signals)
    return rankdata(matrix[np.triu_indices(len(matrix), k=1)])


def representational_similarity(first: ArrayLike, second: ArrayLike) -> float:
    """How alike two patterns of muscle coordination are: Spearman's rho of their similarity matrices' upper triangles.

    Blind to the muscles' levels, and to a reordering of time common to all of them (Kriegeskorte, Mur and Bandettini
    2008, Front Syst Neurosci 2:4).

    Args:
        first: `(T, M)`.
        second: `(T', M)`, the same muscles in the same order.

    Raises:
        SignalError: other numbers of muscles; see `similarity_matrix`.
    """
    a, b = similarity_ranks(first), similarity_ranks(second)
    if len(a) != len(b):
        counts = " and ".join(str(np.shape(signals)[1]) for signals in (first, second))
        raise SignalError(f"{counts} muscles cannot be compared; give the same ones in the same order")
    return pearson(a, b)


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    a, b = checked(first, "the first curve", ndim=1), checked(second, "the second curve", ndim=1)
    if len(a) != len(b):
        raise SignalError(f"curves of {len(a)} and {len(b)} points cannot be compared; bring them to the same instants")
    return a, b


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1.0, 1.0))


def _still(a: Floats, b: Floats) -> bool:
    return np.ptp(a) == 0.0 or np.ptp(b) == 0.0


def _circular(a: Floats, b: Floats, lags: np.ndarray) -> Floats:
    return np.array([_correlation(a, np.roll(b, lag)) for lag in lags])


def _shifted(a: Floats, b: Floats, lags: np.ndarray) -> Floats:
    """Pearson's r of `a[n]` and `b[n - lag]` over the n at which both exist, for each lag, from running sums."""
    a, b = a - a.mean(), b - b.mean()
    size = len(a)
    first, end = np.maximum(0, lags), size + np.minimum(0, lags)  # in a; lag samples earlier in b
    count = end - first
    products = correlate(a, b, mode="full")[size - 1 + lags]

    def sums(x: Floats, start: np.ndarray, stop: np.ndarray) -> Floats:
        total = np.concatenate(([0.0], np.cumsum(x)))
        return total[stop] - total[start]

    with np.errstate(invalid="ignore", divide="ignore"):  # what overlaps may be still, or one point
        mean_a, mean_b = sums(a, first, end) / count, sums(b, first - lags, end - lags) / count
        spread_a = sums(a**2, first, end) / count - mean_a**2
        spread_b = sums(b**2, first - lags, end - lags) / count - mean_b**2
        still = (spread_a <= 1e-12 * np.mean(a**2)) | (spread_b <= 1e-12 * np.mean(b**2))
        r = (products / count - mean_a * mean_b) / np.sqrt(spread_a * spread_b)
    return np.where(still, np.nan, np.clip(r, -1.0, 1.0))


def _of_maximum(curve: Floats) -> Floats:
    return curve / curve.max() if curve.max() > 0.0 else curve
