"""Names against the real models, and the rule by which several muscles become one signal."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from musclewarp.biomechanics.experiments import gait120, wang2023
from musclewarp.biomechanics.muscle_maps import CHANNELS, SITES, map_sites, split_side
from musclewarp.errors import ModelError

LEGS = [site for experiment in CHANNELS.values() for site in experiment.values()]
ARMS = [
    "deltoideus_anterior",
    "deltoideus_medius",
    "deltoideus_posterior",
    "pectoralis_major",
    "latissimus_dorsi",
    "infraspinatus",
    "biceps_brachii",
    "triceps_brachii_long_head",
    "triceps_brachii_lateral_head",
    "brachioradialis",
    "extensor_carpi_radialis",
    "extensor_carpi_ulnaris",
    "flexor_carpi_radialis",
    "flexor_carpi_ulnaris",
]
TRUNK = [
    "erector_spinae_longissimus",
    "erector_spinae_iliocostalis",
    "multifidus",
    "rectus_abdominis",
    "obliquus_externus",
]
SHOULDERS = ["trapezius_descendens", "trapezius_transversalis", "trapezius_ascendens", "serratus_anterior"]


def muscles_of(model):
    return list(model.muscles.index), model.muscles["peak_force"].to_numpy()


@pytest.fixture(scope="session")
def ms_human(data_root):
    """Names and peak forces of MS-Human-700."""
    path = data_root / "models" / "ms_human_700" / "MS-Human-700.xml"
    model = mujoco.MjModel.from_xml_path(str(path))
    return [model.actuator(i).name for i in range(model.nu)], model.actuator_gainprm[:, 2]


def counts(model, sites):
    """Number of muscles of each site, the same on both sides."""
    right, left = (map_sites(sites, side, *model) for side in ("right", "left"))
    for a, b in zip(right.muscles, left.muscles):
        assert [split_side(name)[0] for name in a] == [split_side(name)[0] for name in b]
        assert set(a).isdisjoint(b)
    return {site: len(names) for site, names in zip(right.sites, right.muscles)}


def test_the_full_body_has_every_site_of_legs_arms_and_trunk(body):
    found = counts(muscles_of(body), [*dict.fromkeys(LEGS), *ARMS, *TRUNK])
    several = {site: n for site, n in found.items() if n > 1}
    assert several == {
        "gastrocnemius": 2,
        "medial_hamstrings": 2,
        "gluteus_maximus": 3,
        "gluteus_medius": 3,
        "pectoralis_major": 3,
        "latissimus_dorsi": 3,
        "biceps_brachii": 2,
        "extensor_carpi_radialis": 2,
        "erector_spinae_longissimus": 26,
        "erector_spinae_iliocostalis": 12,
        "multifidus": 25,
        "obliquus_externus": 6,
    }


def test_the_arms_have_every_site_of_the_arms(arms):
    found = map_sites(["biceps_brachii", "deltoideus_medius"], "left", *muscles_of(arms))
    assert found.muscles == (("BIClong_left", "BICshort_left"), ("DELT2_left",))
    assert set(counts(muscles_of(arms), ARMS).values()) == {1, 2, 3}


def test_ms_human_has_every_site(ms_human):
    found = counts(ms_human, list(SITES))
    assert {
        site: found[site] for site in (*SHOULDERS, "latissimus_dorsi", "obliquus_externus", "extensor_digitorum")
    } == {
        "trapezius_descendens": 1,
        "trapezius_transversalis": 4,
        "trapezius_ascendens": 9,
        "serratus_anterior": 10,
        "latissimus_dorsi": 14,
        "obliquus_externus": 8,
        "extensor_digitorum": 4,
    }
    assert map_sites(["soleus", "trapezius_descendens"], "left", *ms_human).muscles == (("soleus_l",), ("trap_cl_L",))


def test_both_leg_models_listen_to_muscles_of_the_same_names(body, ms_human):
    sites = list(dict.fromkeys(LEGS))
    for side in ("right", "left"):
        assert map_sites(sites, side, *muscles_of(body)).muscles == map_sites(sites, side, *ms_human).muscles


@pytest.mark.parametrize(
    ("experiment", "file", "skip"),
    [("rajagopal2016_walk", "electromyography.sto", 6), ("santuz_walk_emg", "raw_emg_ID0012.csv", 0)],
)
def test_every_channel_of_the_experiments_has_a_site(data_root, experiment, file, skip):
    header = (data_root / "experimental" / experiment / file).read_text().splitlines()[skip]
    columns = header.replace(",", "\t").split("\t")
    assert columns == ["time", *CHANNELS[experiment]]


def test_every_electrode_of_gait120_and_wang_has_a_site(body):
    sites = [*gait120.MUSCLES.values(), *wang2023.MUSCLES]
    found = dict(zip(sites, map_sites(sites, "right", *muscles_of(body)).muscles))
    assert found["soleus_medialis"] == found["soleus_lateralis"] == found["soleus"] == ("soleus_r",)


def test_a_signal_is_the_peak_force_weighted_mean_of_activations():
    names = ["semiten_r", "semimem_r", "semiten_l", "semimem_l", "soleus_r"]
    mapped = map_sites(["medial_hamstrings", "soleus"], "right", names, [100.0, 300.0, 1.0, 1.0, 5.0])
    np.testing.assert_allclose(mapped.weights, [[0.25, 0.75, 0, 0, 0], [0, 0, 0, 0, 1]])
    np.testing.assert_allclose(mapped.signals([0.4, 0.8, 1, 1, 0.1]), [0.7, 0.1])
    activation = np.random.default_rng(0).random((7, 3, 5))
    signals = mapped.signals(activation)
    assert signals.shape == (7, 3, 2)
    np.testing.assert_allclose(signals[..., 0], 0.25 * activation[..., 0] + 0.75 * activation[..., 1])


def test_what_cannot_be_mapped_is_named(arms):
    names, force = muscles_of(arms)
    with pytest.raises(ModelError, match="'calf' is unknown; there are gluteus_maximus"):
        map_sites(["calf"], "right", names, force)
    with pytest.raises(ModelError, match="no muscle soleus on the left for EMG site 'soleus'"):
        map_sites(["soleus"], "left", names, force)
    with pytest.raises(ModelError, match="'soleus_l' has the peak force 0 N"):
        map_sites(["soleus"], "left", ["soleus_l"], [0.0])


def test_sides_are_read_from_names():
    assert split_side("soleus_l") == ("soleus", "left")
    assert split_side("DELT1") == ("DELT1", "right")
    assert split_side("DELT1_left") == ("DELT1", "left")
    assert split_side("trap_cl_L") == ("trap_cl", "left")
    assert split_side("SerrAnt1_1_R") == ("SerrAnt1_1", "right")
    assert split_side("IL_L1_r") == ("IL_L1", "right")
