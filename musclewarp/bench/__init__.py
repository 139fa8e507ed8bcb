"""`musclewarp bench`: what the framework costs on top of the simulator, measured in one process."""

from __future__ import annotations

from musclewarp.bench.compare import BenchCase, bench, bench_rows
from musclewarp.bench.output import print_rows

__all__ = ["BenchCase", "bench", "bench_rows", "print_rows"]
