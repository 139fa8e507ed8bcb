"""Muscle lengths over the ranges of the joints: are they those of the length range, and are they continuous?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from musclewarp.models.excursion import muscle_lengths, ranged_dofs, sample_postures, sweep
from musclewarp.models.sanity.finding import Finding, Subject


def length_ranges_attained(subject: Subject, tolerance: float = 0.25, postures: int = 3000) -> Iterator[Finding]:
    """Ends of a `lengthrange` that no posture comes near, and postures far outside it.

    MuJoCo scales the force-length curve by the length range: a muscle that lives in a part of its range, or outside it,
    works at other normalised fibre lengths than meant. Tolerated is `tolerance` of the range's width at either end;
    the lengths are those of `postures` samples (see `sample_postures`), so they are attained, but not all that are.
    """
    model = subject.model
    length, _ = muscle_lengths(model, sample_postures(model, subject.couplings, postures))
    shortest, longest = length.min(axis=0), length.max(axis=0)
    low, high = model.actuator_lengthrange.T
    for i in np.flatnonzero(high > low):
        name, width = subject.muscles.index[i], high[i] - low[i]
        attained = f"[{shortest[i]:.3f}, {longest[i]:.3f}] m attained of [{low[i]:.3f}, {high[i]:.3f}] m"
        for kind, short, text in (
            ("length_unreached", max(shortest[i] - low[i], high[i] - longest[i]), "the joints leave a part unused"),
            ("length_exceeded", max(low[i] - shortest[i], longest[i] - high[i]), "the joints take it out of its range"),
        ):
            share = float(short / width)
            if share > tolerance:
                expected = f"at most {tolerance:.0%} of the range's width"
                yield Finding(kind, name, share, expected, share / tolerance, f"'{name}': {text}, {attained}")


def wrap_jumps(subject: Subject, tolerance: float = 1e-3, steps: int = 201, postures: int = 4) -> Iterator[Finding]:
    """Muscles whose length changes by `tolerance` m more from one angle to the next than their moment arm explains.

    A tendon that flips to the other side of its wrapping geom does this, and then its velocity and force are wrong for
    a step. Every independent joint is swept in `steps` postures, the others at their default, in the middle of
    their ranges, and in `postures` samples; the explained change is the trapezoid of the moment arms. The worst
    jump of each muscle is reported.
    """
    model, couplings = subject.model, subject.couplings
    dofs = ranged_dofs(model, couplings)
    middle = model.qpos0.copy()
    middle[model.jnt_qposadr[model.dof_jntid[dofs]]] = model.jnt_range[model.dof_jntid[dofs]].mean(axis=1)
    worst: dict[int, tuple[float, str, float]] = {}
    for base in (model.qpos0, middle, *sample_postures(model, couplings, postures)):
        for dof in dofs:
            angle, length, slope = sweep(model, couplings, int(dof), steps, base)
            explained = np.diff(angle)[:, None] * (slope[1:] + slope[:-1]) / 2
            jump = np.abs(np.diff(length, axis=0) - explained)
            for i in np.flatnonzero(jump.max(axis=0) > tolerance).tolist():
                size, at = float(jump[:, i].max()), float(angle[jump[:, i].argmax()])
                worst[i] = max(worst.get(i, (0.0, "", 0.0)), (size, subject.joint_name(int(dof)), at))
    for i, (size, joint, at) in worst.items():
        name = subject.muscles.index[i]
        text = f"'{name}' jumps by {1e3 * size:.1f} mm where '{joint}' passes {at:.2f}"
        yield Finding("wrap_jump", name, size, f"at most {1e3 * tolerance:.0f} mm", size / tolerance, text)
