"""What numbers over several people, or several policies, are worth: ceilings, intervals, paired tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap, rankdata, wilcoxon

from musclewarp.biomechanics.signals import Floats, checked
from musclewarp.errors import SignalError


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that holds it with a confidence of `level`."""

    mean: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class PairedTest:
    """Wilcoxon's signed-rank test of paired differences.

    Attributes:
        name: what is compared.
        pairs: how many were compared; those with a NaN are left out.
        median_difference: of first minus second.
        effect: matched-pairs rank-biserial correlation, -1 to 1, positive where the first is larger (Kerby 2014,
            Comprehensive Psychology 3:11.IT.3.1).
        p: two-sided.
        p_holm: p, corrected for all tests of the family.
    """

    name: str
    pairs: int
    median_difference: float
    effect: float
    p: float
    p_holm: float


def leave_one_out(subjects: ArrayLike, measure: Callable[[Floats, Floats], float]) -> Floats:
    """`measure(one subject, mean of the others)` for each of the S subjects `(S, ...)`: what a person could reach.

    Its mean is the lower noise ceiling (Nili et al. 2014, PLoS Comput Biol 10:e1003553): a simulation that is as like
    the others as a further person is reaches it.

    Raises:
        SignalError: fewer than two subjects, or a value that is not finite.
    """
    values = checked(subjects, "the subjects' curves")
    others = (values.sum(axis=0) - values) / (len(values) - 1)
    return np.array([measure(one, rest) for one, rest in zip(values, others)])


def pairwise(subjects: ArrayLike) -> Floats:
    """Pearson's r of each pair of the S subjects' curves `(S, P)`: what one reaches with one other.

    `(S (S - 1) / 2,)`, in the order of `itertools.combinations`; NaN with a curve that does not change.

    Raises:
        SignalError: fewer than two subjects, or a value that is not finite.
    """
    values = checked(subjects, "the subjects' curves", ndim=2)
    centred = values - values.mean(axis=1, keepdims=True)
    size = np.where(np.ptp(values, axis=1) == 0.0, np.nan, np.linalg.norm(centred, axis=1))
    unit = centred / size[:, None]
    return np.clip(unit @ unit.T, -1.0, 1.0)[np.triu_indices(len(unit), k=1)]


def bootstrap_interval(values: ArrayLike, level: float = 0.95, resamples: int = 9999, seed: int = 0) -> Interval:
    """Mean of independent `values (S,)` and its bootstrap interval, bias-corrected and accelerated (Efron 1987).

    Raises:
        SignalError: fewer than two values, or one that is not finite.
    """
    sample = checked(values, "the sample", ndim=1)
    mean = float(sample.mean())
    if np.ptp(sample) == 0.0:
        return Interval(mean, mean, mean, level)  # nothing varies; the acceleration would be 0 / 0
    rng = np.random.default_rng(seed)
    found = bootstrap((sample,), np.mean, n_resamples=resamples, confidence_level=level, rng=rng).confidence_interval
    return Interval(mean, float(found.low), float(found.high), level)


def holm(p: ArrayLike) -> Floats:
    """p-values `(K,)` of one family of tests, corrected by Holm's step-down method (Holm 1979, Scand J Stat 6:65-70).

    The k-th smallest is multiplied by the number of tests not yet rejected, K - k + 1, and none is below a smaller one.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.minimum(1.0, values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(stepped)
    return corrected


def paired_tests(first: ArrayLike, second: ArrayLike, names: Sequence[str]) -> tuple[PairedTest, ...]:
    """Wilcoxon's signed-rank test in each column, Holm-corrected over the columns.

    `pandas.DataFrame` takes the result.

    Args:
        first: `(S, K)`, row by row of the same person (or clip, or seed) as in `second`.
        second: `(S, K)`.
        names: of the K columns.

    Raises:
        SignalError: shapes differ, or a column has no pair without a NaN.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] != len(names):
        raise SignalError(f"paired values {a.shape} and {b.shape} must both be (S, {len(names)}), as the names")
    results: list[tuple[str, int, float, float, float]] = []
    for name, difference in zip(names, (a - b).T):
        paired = difference[~np.isnan(difference)]
        if not paired.size:
            raise SignalError(f"'{name}' has no pair of numbers; leave it out")
        moved = paired[paired != 0.0]
        ranks = rankdata(np.abs(moved))
        effect = float((np.sign(moved) * ranks).sum() / ranks.sum()) if moved.size else 0.0
        test: Any = wilcoxon(moved) if moved.size else None
        p = float(test.pvalue) if moved.size else 1.0
        results.append((name, len(paired), float(np.median(paired)), effect, p))
    corrected = holm([result[-1] for result in results])
    return tuple(PairedTest(*result, p_holm=float(p)) for result, p in zip(results, corrected))
