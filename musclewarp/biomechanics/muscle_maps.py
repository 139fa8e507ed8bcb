"""Which muscles of a model an EMG electrode listens to, and how their activations become one signal.

Sites have the names of SENIAM's sensor locations (Hermens et al. 2000, J Electromyogr Kinesiol 10:361-374), and where
SENIAM has none, of the muscle. One table serves all models: MyoFullBody, MyoBimanualArm and MS-Human-700 name muscles
after the same OpenSim models, with other marks for the side. A site stands for all parts that a model has of the muscle
that the electrode is named after; what lies below it (vastus intermedius, short head of biceps femoris) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from musclewarp.biomechanics.signals import Floats
from musclewarp.errors import ModelError

Side = Literal["right", "left"]

# site -> patterns of muscle names without their side; a model has the muscles of at least one
SITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gluteus_maximus": ("glmax[123]",),
        "gluteus_medius": ("glmed[123]",),
        "tensor_fasciae_latae": ("tfl",),
        "rectus_femoris": ("recfem",),
        "vastus_medialis": ("vasmed",),
        "vastus_lateralis": ("vaslat",),
        "biceps_femoris": ("bflh",),
        "semitendinosus": ("semiten",),
        "semimembranosus": ("semimem",),
        "medial_hamstrings": ("semiten", "semimem"),
        "tibialis_anterior": ("tibant",),
        "peroneus_longus": ("perlong",),
        "peroneus_brevis": ("perbrev",),
        "gastrocnemius_medialis": ("gasmed",),
        "gastrocnemius_lateralis": ("gaslat",),
        "gastrocnemius": ("gasmed", "gaslat"),
        "soleus": ("soleus",),
        "soleus_medialis": ("soleus",),  # models have one soleus for both of its sides
        "soleus_lateralis": ("soleus",),
        "deltoideus_anterior": ("DELT1",),
        "deltoideus_medius": ("DELT2",),
        "deltoideus_posterior": ("DELT3",),
        "pectoralis_major": ("PECM[123]",),
        "latissimus_dorsi": ("LAT[123]", "LD_*"),
        "infraspinatus": ("INFSP",),
        "biceps_brachii": ("BIClong", "BICshort"),
        "triceps_brachii_long_head": ("TRIlong",),
        "triceps_brachii_lateral_head": ("TRIlat",),
        "brachioradialis": ("BRD",),
        "extensor_carpi_radialis": ("ECRL", "ECRB"),
        "extensor_carpi_ulnaris": ("ECU",),
        "flexor_carpi_radialis": ("FCR",),
        "flexor_carpi_ulnaris": ("FCU",),
        "extensor_digitorum": ("EDC?",),
        "trapezius_descendens": ("trap_cl",),
        "trapezius_transversalis": ("trap_acr_*",),
        "trapezius_ascendens": ("trap_inf_*",),
        "serratus_anterior": ("SerrAnt*",),
        "erector_spinae_longissimus": ("LTpT_*", "LTpL_*"),
        "erector_spinae_iliocostalis": ("IL_[LR]*",),
        "multifidus": ("MF_*",),
        "rectus_abdominis": ("rect_abd",),
        "obliquus_externus": ("EO*",),
    }
)

# experiment -> its channels -> sites
CHANNELS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "rajagopal2016_walk": MappingProxyType(
            {
                "soleus": "soleus",
                "gastrocnemius": "gastrocnemius",  # which head is not said
                "tibialis_anterior": "tibialis_anterior",
                "medial_hamstrings": "medial_hamstrings",
                "biceps_femoris": "biceps_femoris",
                "vastus_lateralis": "vastus_lateralis",
                "vastus_medius": "vastus_medialis",  # "VM" in the raw file
                "rectus_femoris": "rectus_femoris",
                "gluteus_maximus": "gluteus_maximus",
                "gluteus_medius": "gluteus_medius",
            }
        ),
        "santuz_walk_emg": MappingProxyType(
            {
                "ME": "gluteus_medius",
                "MA": "gluteus_maximus",
                "FL": "tensor_fasciae_latae",
                "RF": "rectus_femoris",
                "VM": "vastus_medialis",
                "VL": "vastus_lateralis",
                "ST": "semitendinosus",
                "BF": "biceps_femoris",
                "TA": "tibialis_anterior",
                "PL": "peroneus_longus",
                "GM": "gastrocnemius_medialis",
                "GL": "gastrocnemius_lateralis",
                "SO": "soleus",
            }
        ),
    }
)

_SIDES: tuple[tuple[str, Side], ...] = (
    ("_left", "left"),
    ("_l", "left"),
    ("_L", "left"),
    ("_right", "right"),
    ("_r", "right"),
    ("_R", "right"),
)


@dataclass(frozen=True, eq=False)
class MuscleMap:
    """Which muscles each site listens to.

    Attributes:
        sites: names `(S,)`.
        muscles: of each site, names in the model's order.
        weights: `(S, M)` over all muscles of the model; each row sums to one.
    """

    sites: tuple[str, ...]
    muscles: tuple[tuple[str, ...], ...]
    weights: Floats

    def signals(self, activation: ArrayLike) -> Floats:
        """What the sites hear of `activation (..., M)`: `(..., S)`, between 0 and 1 as activations are.

        Sum of F0 a over sum of F0 of a site's muscles, F0 their peak isometric forces: the share of the force (of the
        physiological cross-section, at one specific tension) under the electrode that is active.
        """
        return np.asarray(activation, dtype=np.float64) @ self.weights.T


def map_sites(sites: Sequence[str], side: Side, muscles: Sequence[str], peak_force: ArrayLike) -> MuscleMap:
    """The muscles of `sites` on one side of a model.

    Args:
        sites: names out of `SITES`.
        side: of the body.
        muscles: names `(M,)` of all muscles of the model, as in `MuscleModel.muscles`.
        peak_force: `(M,)` N.

    Raises:
        ModelError: a site is unknown, the model has none of its muscles, or one of them has no positive peak force.
    """
    force = np.asarray(peak_force, dtype=np.float64)
    split = [split_side(name) for name in muscles]
    weights = np.zeros((len(sites), len(muscles)))
    for row, site in enumerate(sites):
        if site not in SITES:
            raise ModelError(f"EMG site '{site}' is unknown; there are {', '.join(SITES)}")
        heard = _heard(site, side, split)
        if not heard:
            wanted = " or ".join(SITES[site])
            raise ModelError(
                f"the model has no muscle {wanted} on the {side} for EMG site '{site}': leave the site out"
            )
        for i in heard:
            if not force[i] > 0.0:
                raise ModelError(
                    f"muscle '{muscles[i]}' has the peak force {force[i]:g} N; weights need a positive one"
                )
        weights[row, heard] = force[heard] / force[heard].sum()
    members = tuple(tuple(name for name, weight in zip(muscles, row) if weight) for row in weights)
    return MuscleMap(tuple(sites), members, weights)


def sites_of(side: Side, muscles: Sequence[str]) -> tuple[str, ...]:
    """The sites of which there is a muscle among `muscles`, names in a model."""
    split = [split_side(name) for name in muscles]
    return tuple(site for site in SITES if _heard(site, side, split))


def split_side(muscle: str) -> tuple[str, Side]:
    """Name of a muscle without its side, and the side; names without one are of the right ("DELT1")."""
    for mark, side in _SIDES:
        if muscle.endswith(mark):
            return muscle.removesuffix(mark), side
    return muscle, "right"


def _heard(site: str, side: Side, split: Sequence[tuple[str, Side]]) -> list[int]:
    """Indices of the muscles that a site listens to, among names without their side and sides."""
    return [i for i, (stem, at) in enumerate(split) if at == side and any(fnmatchcase(stem, p) for p in SITES[site])]
