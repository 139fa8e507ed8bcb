"""Quarantine: what is counted, what is dumped, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclewarp.engines.health import Quarantine, check_dump_model, load_dump, replay
from musclewarp.errors import FileError, SimulationError
from musclewarp.files import read_arrays, write_arrays


@pytest.fixture
def fall_ill(native):
    """`fall_ill(quarantine, *worlds)`: a remembered step in which these worlds start without finite numbers."""

    def fall_ill(quarantine, *worlds):
        native.qvel[list(worlds), 3] = torch.nan
        native.ctrl.copy_(torch.rand(native.ctrl.shape, generator=torch.Generator().manual_seed(0)))
        quarantine.remember()
        native.step()
        return quarantine.inspect()

    return fall_ill


def test_sound_worlds_are_left_alone_and_nothing_is_written(native, fall_ill, tmp_path):
    quarantine = Quarantine(native, tmp_path / "dumps", 0.0)
    assert not fall_ill(quarantine).any()
    assert int(quarantine.count) == 0
    assert quarantine.world_steps == native.num_worlds
    assert not (tmp_path / "dumps").exists()
    quarantine.world_steps = 10**6
    quarantine.check()


def test_ill_worlds_are_named_and_counted(native, fall_ill):
    quarantine = Quarantine(native, None, 1.0)
    assert fall_ill(quarantine, 1, 3).tolist() == [False, True, False, True]
    assert int(quarantine.count) == 2


def test_a_dump_is_the_state_before_the_step_bit_for_bit(native, fall_ill, tmp_path):
    quarantine = Quarantine(native, tmp_path, 1.0)
    qpos = native.qpos[2].clone()
    fall_ill(quarantine, 2)
    arrays, header = load_dump(tmp_path / "world_0.safetensors")
    np.testing.assert_array_equal(arrays["qpos"], qpos)
    np.testing.assert_array_equal(arrays["ctrl"], native.ctrl[2])
    assert np.flatnonzero(np.isnan(arrays["qvel"])).tolist() == [3]
    physics = native.model.physics
    assert (header["timestep"], header["substeps"]) == (physics.timestep, physics.substeps)
    assert (header["model"], header["world"], header["engine"]) == ("bimanual", 2, "native")
    assert "not_finite" in header["faults"]
    check_dump_model(arrays, header, native.model)


def test_a_dump_fails_again_and_heals_with_a_sound_state(native, fall_ill, tmp_path):
    fall_ill(Quarantine(native, tmp_path, 1.0), 0)
    arrays, _ = load_dump(tmp_path / "world_0.safetensors")
    assert replay(native, arrays)
    assert not replay(native, {**arrays, "qvel": np.zeros_like(arrays["qvel"])})


def test_only_the_first_five_are_dumped(native, fall_ill, tmp_path):
    quarantine = Quarantine(native, tmp_path, 1.0)
    for _ in range(7):
        fall_ill(quarantine, 0, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"world_{k}.safetensors" for k in range(5)]
    assert int(quarantine.count) == 14


def test_dumps_of_an_earlier_run_or_another_rank_are_kept(native, fall_ill, tmp_path):
    for world in (1, 2):
        fall_ill(Quarantine(native, tmp_path, 1.0), world)
    headers = [load_dump(tmp_path / f"world_{k}.safetensors")[1] for k in range(2)]
    assert headers[0]["world"] == 1


def test_what_is_held_is_the_first_ill_world_until_it_is_dumped(native, fall_ill, tmp_path):
    quarantine = Quarantine(native, tmp_path, 1.0)
    quarantine.remember()
    kept = native.qpos.clone()
    faults = torch.zeros(native.num_worlds, len(native.fault_kinds), dtype=torch.bool)
    for world in (None, 2, 1):  # as on a GPU, where nobody asks before `check`
        now = faults.clone()
        if world is not None:
            now[world, 0] = True
        quarantine._hold(now.any(1), now)
    assert not list(tmp_path.iterdir())
    quarantine.check()
    quarantine.check()
    (path,) = tmp_path.iterdir()
    arrays, header = load_dump(path)
    assert (header["world"], header["faults"]) == (2, ["not_finite"])
    np.testing.assert_array_equal(arrays["qpos"], kept[2])


def test_faults_are_counted_by_kind(native, fall_ill):
    quarantine = Quarantine(native, None, 1.0)
    fall_ill(quarantine, 1, 3)
    counts = dict(zip(native.fault_kinds, quarantine.faults.tolist(), strict=True))
    assert counts["not_finite"] == 2
    assert counts["out_of_memory"] == 0


def test_a_run_stops_beyond_the_limit_and_says_where_to_look(native, fall_ill, tmp_path):
    quarantine = Quarantine(native, tmp_path, 0.001)
    fall_ill(quarantine, 0, 1)
    quarantine.check()  # of few world-steps a fraction means nothing
    quarantine.world_steps = 2000
    quarantine.check()  # at the limit, not beyond it
    quarantine.world_steps = 1999
    with pytest.raises(
        SimulationError, match=r"2 of 1999 .*limit 0\.10%.*'not_finite'.*musclewarp replay.*timestep"
    ) as caught:
        quarantine.check()
    assert str(tmp_path) in str(caught.value)


def test_a_dump_of_another_model_is_refused(native):
    with pytest.raises(FileError, match="another version of 'bimanual'"):
        check_dump_model({}, {"model": "bimanual", "model_hash": "0"}, native.model)


def test_a_dump_whose_arrays_do_not_fit_is_refused_by_name(native, fall_ill, tmp_path):
    fall_ill(Quarantine(native, tmp_path, 1.0), 0)
    arrays, header = load_dump(tmp_path / "world_0.safetensors")
    with pytest.raises(FileError, match=r"qvel has shape \(3,\)"):
        check_dump_model({**arrays, "qvel": np.zeros(3)}, header, native.model)


def test_a_dump_that_lacks_a_part_is_refused_by_name(native, fall_ill, tmp_path):
    fall_ill(Quarantine(native, tmp_path, 1.0), 0)
    path = tmp_path / "world_0.safetensors"
    arrays, header = read_arrays(path, "quarantined world", 1)
    del arrays["act"], arrays["ctrl"], header["kind"], header["version"], header["substeps"]
    write_arrays(path, arrays, header, "quarantined world", 1)
    with pytest.raises(FileError, match=r"world_0\.safetensors: lacks act, ctrl, substeps"):
        load_dump(path)


def test_a_reference_is_not_a_dump(tmp_path):
    path = write_arrays(tmp_path / "walk.ref.safetensors", {"qpos": np.zeros((2, 3))}, {}, "reference", 1)
    with pytest.raises(FileError, match=r"'reference'.*'quarantined world'"):
        load_dump(path)
