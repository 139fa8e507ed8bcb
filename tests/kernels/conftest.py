"""Every op runs where there is a device, and writes into memory that held NaN before."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import torch


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def poisoned_outputs() -> Generator[None]:
    """Torch's deterministic mode fills new memory with NaN, so that what a kernel leaves out shows."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.zeros(1).new_empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)
