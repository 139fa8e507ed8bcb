"""What a further person would reach: how alike people's EMG is, muscle by muscle, from Santuz's walkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from musclewarp.biomechanics.compare import pearson, representational_similarity
from musclewarp.biomechanics.experiments import Experiment
from musclewarp.biomechanics.gait import GaitCycles
from musclewarp.biomechanics.movement import movement_of_experiment
from musclewarp.biomechanics.muscle_maps import SITES
from musclewarp.biomechanics.phases import curves_over
from musclewarp.biomechanics.signals import Floats
from musclewarp.biomechanics.statistics import leave_one_out
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

    def ceiling(self, site: str) -> float:
        """Mean Pearson's r of each person with the mean of the others; NaN where nobody was measured."""
        curves = self.of(site)
        return float("nan") if curves is None else float(leave_one_out(curves, pearson).mean())

    def coordination_ceiling(self, sites: Sequence[str]) -> float:
        """The same of the pattern of these muscles, see `representational_similarity`; NaN if one was not measured."""
        curves = [self.of(site) for site in sites]
        found = [person for person in curves if person is not None]
        if len(found) < len(sites) or len(sites) < 3:
            return float("nan")
        return float(leave_one_out(np.stack(found, axis=-1), representational_similarity).mean())


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
