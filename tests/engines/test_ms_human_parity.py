"""MS-Human-700 on both engines: the same within the bars of the other models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclewarp.engines import NativeEngine
from musclewarp.engines.warp import WarpEngine
from musclewarp.models import load_model

CONTROL_STEPS = 2


def test_control_steps_from_the_same_state_agree_on_both_engines(data_root, parity, monkeypatch):
    monkeypatch.setenv("MUSCLEWARP_DATA", str(data_root))
    model = parity.load("ms_human_700")
    generator = torch.Generator().manual_seed(0)
    native, warp = NativeEngine(model, 2), WarpEngine(model, 2)
    parity.scatter(native, generator, pool=2)
    assert (native.sensor("floor")[1:, 0] > 0).all()  # one has fallen
    for _ in range(CONTROL_STEPS):
        parity.copy_state(native, warp)
        parity.drive(native, warp, parity.excitations(native, generator))
        gaps = parity.differences(native, warp)
        for key, bar in parity.BARS.items():
            assert gaps[key].max() < bar, key
    assert not native.unhealthy().any()
    assert not warp.unhealthy().any()


def test_a_body_that_is_let_go_falls_in_any_direction_without_faults(data_root, monkeypatch):
    monkeypatch.setenv("MUSCLEWARP_DATA", str(data_root))
    model = load_model("ms_human_700")
    engine = NativeEngine(model, 4)
    qpos = torch.from_numpy(np.tile(model.posture({}), (4, 1)))
    # about 90 degrees of list the published root, three hinges, loses a direction of turning
    qpos[:, 3:7] = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    qpos[:, 3:7] /= qpos[:, 3:7].norm(dim=1, keepdim=True)
    engine.reset(torch.ones(4, dtype=torch.bool), qpos, torch.zeros_like(engine.qvel), torch.zeros_like(engine.act))
    engine.ctrl.fill_(0.02)
    for _ in range(50):
        engine.step()
    assert not engine.unhealthy().any()
    assert engine.qpos[:, 2].max() < 0.6
    assert model.couplings.residual(engine.qpos).abs().max() == pytest.approx(0, abs=5e-3)
