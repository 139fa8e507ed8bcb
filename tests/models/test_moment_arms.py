"""`benchmarks/moment_arms.py`: what it calls an outlier, and its published figures against other measurements."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from musclewarp.models import MuscleModel

# mm, of ten specimens, the triceps' of its long head: Murray et al. 2000, J Biomech 33:943, abstract
PEAKS_ELSEWHERE = {"BIClong": 47.0, "BRD": 77.0, "TRIlat": 23.0}


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "moment_arms.py"
    spec = importlib.util.spec_from_file_location("moment_arms_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def verdicts(benchmark, body: MuscleModel) -> dict[str, str | None]:
    """By muscle, of MyoFullBody."""
    results = benchmark.measure(body.mj_model, benchmark.CASES, human=False)
    return {case.muscle: results[case.title]["outlier"] for case in benchmark.CASES}


def test_there_are_twenty_cases_and_fourteen_have_cited_figures(benchmark):
    assert len({case.muscle for case in benchmark.CASES}) == 20
    compared = [case for case in benchmark.CASES if case.published]
    assert len(compared) == 14
    for case in benchmark.CASES:
        assert bool(case.published) == (case.source != "not compared")
    for case in compared:
        angle, low, high = np.transpose(case.published)
        assert (np.diff(angle) > 0).all()
        assert (low > 0).all()
        assert (low <= high).all()
        assert len(angle) == 1 or (angle[0], angle[-1]) == case.window


def test_published_curves_peak_where_other_specimens_did(benchmark):
    for case in benchmark.CASES:
        if case.muscle in PEAKS_ELSEWHERE:
            assert max(row[2] for row in case.published) == pytest.approx(PEAKS_ELSEWHERE[case.muscle], rel=0.1)


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        (-40.0, None),
        (-45.0, None),  # half more than 30 mm
        (-46.0, "-46 mm at 0 degrees, published -20 to -30 (100% of the window)"),
        (-10.0, None),  # half of 20 mm
        (-9.0, "-9 mm at 0 degrees, published -20 to -30 (100% of the window)"),
        (6.0, "opposite sign: 6 mm at 0 degrees, published -20 to -30 (100% of the window)"),
    ],
)
def test_outliers_are_further_off_than_half_of_the_nearest_figure(benchmark, arm, expected):
    case = benchmark.Case("m", "j", "m, j", -1, (0, 90), ((0, 20, 30),), "a paper")
    angle = np.linspace(0, 90, 10)
    assert benchmark.verdict(case, angle, np.full(10, arm)) == expected


def test_curves_are_judged_at_each_angle_and_only_in_the_window(benchmark):
    case = benchmark.Case("m", "j", "m, j", 1, (0, 90), ((0, 20, 20), (90, 80, 80)), "a paper")
    angle = np.linspace(-90, 180, 28)
    arm = np.where(angle < 0, -50.0, 20 + angle * 2 / 3)
    assert benchmark.verdict(case, angle, arm) is None
    arm[angle == 60] = 20
    assert benchmark.verdict(case, angle, arm) == "20 mm at 60 degrees, published 60 (10% of the window)"
    np.testing.assert_array_equal(benchmark.astray(case, angle, arm), angle == 60)


def test_where_only_the_peak_is_published_only_the_peak_is_judged(benchmark):
    case = benchmark.Case("m", "j", "m, j", 1, (0, 90), ((0, 20, 30),), "a paper", peak=True)
    angle = np.linspace(0, 90, 10)
    assert benchmark.verdict(case, angle, np.linspace(1, 25, 10)) is None
    assert "8 mm at 90 degrees" in benchmark.verdict(case, angle, np.linspace(1, 8, 10))


def test_without_figures_only_the_sign_is_judged(benchmark):
    case = benchmark.Case("m", "j", "m, j", 1, (0, 90))
    angle = np.linspace(0, 90, 10)
    assert benchmark.verdict(case, angle, np.full(10, 500.0)) is None
    assert benchmark.verdict(case, angle, -angle) == "opposite sign: -90 mm at 90 degrees (90% of the window)"


def test_outliers_of_the_published_body_are_those_of_the_shoulder_and_of_the_straight_elbow(verdicts):
    outliers = {muscle for muscle, text in verdicts.items() if text}
    assert outliers == {"DELT2", "SUPSP", "BIClong", "BRA", "BRD"}
    assert verdicts["SUPSP"].startswith("opposite sign: -13 mm at 89 degrees")
    for muscle in ("BIClong", "BRA", "BRD"):
        assert "at 0 degrees" in verdicts[muscle]
