"""What the Warp engine leaves out is nothing that anybody reads."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from mujoco_warp._src import smooth

from musclewarp.engines import warp
from musclewarp.engines.warp import WarpEngine
from musclewarp.engines.warp_skipped import Skipped, _no_tendon_paths
from musclewarp.errors import ModelError
from musclewarp.models import PhysicsConfig, load_model

EVERYTHING = Skipped(**{lever.name: False for lever in dataclasses.fields(Skipped)})
LEVERS = {
    **{lever.name: dataclasses.replace(EVERYTHING, **{lever.name: True}) for lever in dataclasses.fields(Skipped)},
    "all": Skipped(),
}


@pytest.fixture(scope="module", params=["bimanual", "myofullbody"])
def plain(request):
    """Ten control steps of two worlds in which everything is computed, and how to take them again."""
    model = load_model(request.param, physics=PhysicsConfig(0.005, 2))

    def run(skipped: Skipped) -> list[dict[str, torch.Tensor]]:
        engine, generator = WarpEngine(model, 2, skipped=skipped), torch.Generator().manual_seed(0)
        if model.has_free_root:
            qpos = engine.qpos.clone()
            qpos[:, 2] -= torch.tensor([0.0, 0.02])  # feet on and in the floor
            engine.reset(torch.ones(2, dtype=torch.bool), qpos, engine.qvel.clone(), engine.act.clone())
        seen = []
        for _ in range(10):
            engine.ctrl.copy_(torch.rand(engine.ctrl.shape, generator=generator) ** 3)
            engine.step()
            live = {"qpos": engine.qpos, "qvel": engine.qvel, "act": engine.act, **engine.derived}
            seen.append({name: value.clone() for name, value in live.items()})
        return seen

    return run(EVERYTHING), run


@pytest.mark.parametrize("lever", sorted(LEVERS))
def test_states_forces_and_sensors_are_the_same_without_it(plain, lever):
    expected, run = plain
    for step, (ours, theirs) in enumerate(zip(run(LEVERS[lever]), expected, strict=True)):
        for name, value in ours.items():
            scale = theirs[name].abs().clamp(min=1.0)
            assert ((value - theirs[name]) / scale).abs().max() < 2e-4, (name, step)
            if lever not in ("smooth_acceleration", "all"):
                assert torch.equal(value, theirs[name]), (name, step)


def test_the_tendons_kernel_is_back_after_the_launch_and_takes_the_same_arguments():
    original = smooth._spatial_tendon_wrap
    with Skipped().applied():
        assert smooth._spatial_tendon_wrap is _no_tendon_paths
    with EVERYTHING.applied():
        assert smooth._spatial_tendon_wrap is original
    assert smooth._spatial_tendon_wrap is original
    types = [[str(arg.type) for arg in kernel.adj.args] for kernel in (original, _no_tendon_paths)]
    assert types[0] == types[1]


def test_another_mujoco_warp_is_refused_by_version(arms, monkeypatch):
    monkeypatch.setattr(warp, "version", lambda name: "4.1.0")
    with pytest.raises(ModelError, match=r"installed is 4\.1\.0"):
        WarpEngine(arms, 1)
