"""What people reach: how alike their EMG is, muscle by muscle, from Santuz's walkers.

A simulation is measured by what it is compared with. With one person, by how alike one person is to one other; with a
population, by how alike one person is to the mean of the others, which is smoother and so always more alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from musclewarp.biomechanics.compare import pearson, representational_similarity, similarity_ranks
from musclewarp.biomechanics.experiments import Experiment
from musclewarp.biomechanics.gait import GaitCycles
from musclewarp.biomechanics.movement import movement_of_experiment
from musclewarp.biomechanics.muscle_maps import SITES
from musclewarp.biomechanics.phases import curves_over
from musclewarp.biomechanics.signals import Floats
from musclewarp.biomechanics.statistics import leave_one_out, pairwise
from musclewarp.errors import SignalError


@dataclass(frozen=True, eq=False)
class Population:
    """EMG of S people over the gait cycle.

    Attributes:
        label: who they are.
        licence, citation: of their data.
        curves: site -> `(S, 101)`.
    """

    label: str
    licence: str
    citation: str
    curves: Mapping[str, Floats]

    def of(self, site: str) -> Floats | None:
        """Curves `(S, 101)` at a site, or the mean of those at sites that listen to a part of its muscles.

        So "gastrocnemius" is the mean of its two heads, "medial_hamstrings" is semitendinosus. None without any.
        """
        if site in self.curves:
            return self.curves[site]
        parts = [curves for part, curves in self.curves.items() if set(SITES[part]) <= set(SITES.get(site, ()))]
        return np.mean(parts, axis=0) if parts else None

    def ceiling(self, site: str, one_person: bool = False) -> float:
        """Mean Pearson's r of each person with the mean of the others, or with one other; NaN where none was measured.

        Args:
            site: of the electrode.
            one_person: whether one person is compared with, and not a population.
        """
        curves = self.of(site)
        if curves is None:
            return float("nan")
        return float((pairwise(curves) if one_person else leave_one_out(curves, pearson)).mean())

    def with_mean(self, site: str, curve: Floats) -> float:
        """Pearson's r of a person's `curve (101,)` with the mean of these people; NaN where none was measured."""
        curves = self.of(site)
        return float("nan") if curves is None else pearson(curve, curves.mean(axis=0))

    def coordination_ceiling(self, sites: Sequence[str], one_person: bool = False) -> float:
        """As `ceiling`, of the pattern of these muscles (`representational_similarity`); NaN if one is missing."""
        people = self._together(sites)
        if people is None:
            return float("nan")
        if one_person:
            return float(pairwise([similarity_ranks(person) for person in people]).mean())
        return float(leave_one_out(people, representational_similarity).mean())

    def coordination_with_mean(self, sites: Sequence[str], curves: Floats) -> float:
        """As `with_mean`, of the pattern of a person's `curves (101, M)` of these muscles."""
        people = self._together(sites)
        return float("nan") if people is None else representational_similarity(curves, people.mean(axis=0))

    def _together(self, sites: Sequence[str]) -> Floats | None:
        """`(S, 101, M)` of M sites, three or more, all of which were measured."""
        found = [person for person in map(self.of, sites) if person is not None]
        return np.stack(found, axis=-1) if len(found) == len(sites) >= 3 else None


def population_of(experiment: Experiment) -> Population:
    """The people of an experiment whose EMG is of mean gait cycles.

    Raises:
        SignalError: it is not, or of one person only.
    """
    emg = experiment.emg
    if emg is None or not emg.over_cycle or len(emg.subjects) < 2:
        raise SignalError(f"experiment '{experiment.name}' has no mean gait cycles of EMG of several people")
    signals = [signal for signal in movement_of_experiment(experiment).signals if signal.kind == "emg"]
    curves = {signal.name: curves_over(signal, GaitCycles((), ()), "gait cycle").values for signal in signals}
    return Population(
        f"{len(emg.subjects)} people ({experiment.name})", experiment.licence, experiment.citation, curves
    )
