"""Solutions of known structure: their rank, their distances and who differs from whom come back."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.biomechanics.solution_figures import FIGURES
from musclewarp.biomechanics.solution_space import (
    COSTS,
    Solution,
    cost_solutions,
    solution_space,
    trial_solution,
)
from musclewarp.cli import main
from musclewarp.dynamics import Criterion, MomentArms, Trajectory, accelerations, inverse_dynamics
from musclewarp.dynamics.static_optimization import muscle_effects
from musclewarp.errors import SignalError
from musclewarp.evaluation.trial import SUFFIX, Trial
from musclewarp.references.reference import make_reference
from musclewarp.retarget.activations import with_activations

FRAMES = 200
TIME = np.linspace(0.0, 2.0, FRAMES)


def latent(rank, seed=0):
    """Orthonormal movements about zero `(FRAMES, rank)`."""
    waves = np.random.default_rng(seed).normal(size=(FRAMES, rank))
    return np.linalg.qr(waves - waves.mean(axis=0))[0]


def mixing(rank, channels, seed=0):
    """`(rank, channels)` with orthonormal rows."""
    return np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(channels, rank)))[0].T


def one(name, values, kind="activation"):
    """A solution of one kind of signal, `(T, C)` or `(R, T, C)`."""
    return Solution(name, {kind: values.reshape(-1, *values.shape[-2:])})


@given(rank=st.integers(1, 8), channels=st.integers(8, 30), seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_the_rank_of_the_signals_is_found(rank, channels, seed):
    weights = mixing(rank, channels, seed)
    solutions = [one(str(k), latent(rank, seed + k) @ weights + 0.3) for k in range(3)]
    (found,) = solution_space(solutions).modalities
    assert found.components(1.0) == rank
    np.testing.assert_allclose(found.explained[rank - 1 :], 1.0)
    # orthonormal movements through orthonormal weights: about equal shares, and never more than all
    assert found.components(0.5) == pytest.approx(rank / 2, abs=1)


def test_shares_of_known_variances_come_back():
    sizes = np.sqrt([0.7, 0.22, 0.05, 0.03])
    values = latent(4) * sizes @ mixing(4, 12)
    (found,) = solution_space([one("a", values), one("b", values)]).modalities
    np.testing.assert_allclose(found.explained[:4], [0.7, 0.92, 0.97, 1.0])
    assert [found.components(share) for share in (0.7, 0.9, 0.95, 0.98)] == [1, 2, 3, 4]


def test_unrelated_movements_are_one_apart_and_equal_ones_not_at_all():
    a, b = latent(2).T[:, :, None]
    space = solution_space([one("a", 5 * a + 1), one("b", 5 * b + 1), one("again", 5 * a + 1)])
    np.testing.assert_allclose(space.modalities[0].distances[[0, 0], [1, 2]], [1.0, 0.0], atol=1e-12)


def test_one_array_in_two_solutions_is_no_repetition():
    values = latent(2)[None]
    (found,) = solution_space([one("a", values), one("b", values)]).modalities
    np.testing.assert_array_equal(found.distances, [[np.nan, 0.0], [0.0, np.nan]])


@given(scale=st.floats(1e-3, 1e3), offset=st.floats(-10, 10))
@settings(max_examples=20, deadline=None)
def test_distances_and_components_do_not_depend_on_the_unit(scale, offset):
    a, b = (latent(3, seed) @ mixing(3, 6) for seed in (0, 1))
    plain = solution_space([one("a", a), one("b", b)]).modalities[0]
    other = solution_space([one("a", scale * a + offset), one("b", scale * b + offset)]).modalities[0]
    np.testing.assert_allclose(other.distances, plain.distances, atol=1e-6)
    np.testing.assert_allclose(other.explained, plain.explained, atol=1e-6)


def test_redundant_muscles_differ_where_the_angles_do_not():
    """Two muscles pull at a joint each way: what both do more of together, the joint does not see."""
    drive = latent(2) * 2
    arms = np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])  # moment of four muscles at two joints
    solutions = []
    for k in range(4):
        together = 0.3 * k * np.outer(np.sin(2 * np.pi * TIME), [1.0, 1.0, 1.0, 1.0])
        activation = drive @ arms / 2 + together
        np.testing.assert_allclose(activation @ arms.T, drive, atol=1e-12)
        solutions.append(
            Solution(f"co-contraction {k}", {"activation": activation[None], "joint angle": activation[None] @ arms.T})
        )
    activation, angle = solution_space(solutions).modalities
    assert angle.between < 1e-12 < 0.1 < activation.between
    assert (angle.components(1.0), activation.components(1.0)) == (2, 3)
    # the four lie on a line, evenly
    np.testing.assert_allclose(activation.mapped, [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(np.abs(np.diff(activation.places[:, 0])), activation.distances[0, 1])
    np.testing.assert_allclose(activation.distances[0, 1:], activation.distances[0, 1] * np.arange(1, 4))


def test_repetitions_are_apart_by_their_noise_and_solutions_by_more():
    random = np.random.default_rng(0)
    base = latent(3) @ mixing(3, 10) * np.sqrt(FRAMES)  # variance 3 in all

    def noisy(name, offset):
        return one(name, base + offset + 0.2 * random.normal(size=(6, FRAMES, 10)))

    (found,) = solution_space([noisy("a", 0.0), noisy("b", 0.5), one("once", base)]).modalities
    unit = np.sqrt(2 * 3)
    np.testing.assert_allclose(np.diag(found.distances)[:2], np.sqrt(2 * 10 * 0.04) / unit, rtol=0.1)
    assert np.isnan(found.distances[2, 2])
    assert found.distances[0, 1] == pytest.approx(np.sqrt(2 * 10 * 0.04 + 10 * 0.25) / unit, rel=0.1)
    assert found.within == pytest.approx(np.diag(found.distances)[:2].mean())
    assert found.between > found.within


def test_solutions_that_stand_still_have_no_components():
    (found,) = solution_space([one("a", np.ones((9, 3))), one("b", np.ones((9, 3)))]).modalities
    assert (found.components(0.9), found.between) == (0, 0.0)


@pytest.mark.parametrize(
    ("solutions", "message"),
    [
        ([one("a", latent(2))], "at least two"),
        ([one("a", latent(2)), one("a", latent(2))], "different names"),
        ([one("a", latent(2)), one("b", latent(2), "joint angle")], "no kind of signal"),
        ([one("a", latent(2)), one("b", latent(3))], "same .frames, channels."),
    ],
)
def test_what_cannot_be_compared_is_refused(solutions, message):
    with pytest.raises(SignalError, match=message):
        solution_space(solutions)


def test_a_hole_in_a_signal_is_refused_by_name():
    broken = latent(2)
    broken[7, 1] = np.nan
    with pytest.raises(SignalError, match=r"'a': activation is not finite at index \[7, 1\]"):
        one("a", broken)


@pytest.fixture(scope="module")
def motion(arms, movement):
    """A small movement of both arms, which muscles can easily do."""
    qpos = movement(arms, 40, 0.02, seed=3)
    small = qpos.mean(axis=0) + 0.3 * (qpos - qpos.mean(axis=0))
    return make_reference(arms, arms.couplings.project_qpos(torch.from_numpy(small)).numpy(), 0.02, name="small")


def test_costs_agree_in_angles_and_moments_but_not_in_muscles(arms, motion):
    costs = {"square": Criterion(), "cube": Criterion(power=3.0), "by force": Criterion(weight="force")}
    solutions = cost_solutions(arms, motion, costs)
    by_name = {m.name: m for m in solution_space(solutions).modalities}
    assert by_name["joint angle"].between == 0.0
    assert by_name["activation"].between > 0.05
    assert by_name["activation"].components(0.9) < 64
    # muscle forces have the sign of trials, and make up the moments: negative is pulling
    arm, *_ = muscle_effects(arms, MomentArms(arms), motion.qpos, motion.qvel)
    needed = inverse_dynamics(arms, Trajectory(motion.qpos, motion.qvel, accelerations(motion.qpos, motion.dt))).moments
    for solution in solutions:
        force = solution.signals["muscle force"][0]
        assert (force <= 0.0).all()
        missing = np.einsum("tjm,tm->tj", arm[1:], force) - needed[1:]
        assert np.abs(missing).max() < 0.05 * np.abs(needed).max()


def test_the_cost_of_references_gives_the_activations_of_references(body, movement):
    """Of a whole body, too, whose accelerations are low-passed."""
    reference = make_reference(body, movement(body, 24, 0.02, seed=1), 0.02, name="small")
    (found,) = cost_solutions(body, reference, {"cost a²": Criterion()})
    expected = with_activations(body, reference).activations
    np.testing.assert_allclose(found.signals["activation"][0], expected[1:], atol=1e-9)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a/trials", "runs/b/trials"], ["a", "b"]),
        (["runs/a/one", "runs/a/two", "runs/b/one"], ["a/one", "a/two", "b/one"]),
        ([f"soft{SUFFIX}", "stiff"], ["soft", "stiff"]),
    ],
)
def test_solutions_are_called_by_what_tells_them_apart(trial, paths, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in paths:
        trial(0.1).save(Path(path) if path.endswith(SUFFIX) else Path(path) / f"0{SUFFIX}")
    assert main(["trials", "solution-space", *paths, "--out", "out"]) == 0
    with open("out/distances.csv") as file:
        assert list(dict.fromkeys(row["first"] for row in csv.DictReader(file))) == names
    assert main(["trials", "solution-space", paths[0], paths[0], "--out", "out"]) == 2


def make_trial(arms, reference, activation, failed_at=-1):
    """A trial that followed `reference` exactly."""
    frames = reference.num_frames
    arrays = {
        "qpos": reference.qpos,
        "joint_pos": reference.qpos[:, arms.joint_qpos],
        "activation": activation,
        "muscle_force": -100.0 * activation,
        "foot_force": np.zeros((frames, 0, 3)),
    }
    return Trial(
        reference.name, "policy", arms.name, arms.hash, reference.dt, tuple(arms.muscles.index), (), arms.sites, (),
        failed_at, {key: value.astype(np.float32) for key, value in arrays.items()},
    )  # fmt: skip


@pytest.fixture
def trial(arms, motion):
    """A trial by a level of co-contraction."""

    def trial(level, failed_at=-1):
        phase = np.linspace(0, 6, motion.num_frames)[:, None] + np.arange(64)
        return make_trial(arms, motion, level + 0.2 * (1 + np.sin(phase)), failed_at)

    return trial


def test_trials_become_solutions_without_their_first_frame(trial, motion):
    solution = trial_solution("a", [trial(0.1), trial(0.2)])
    assert set(solution.signals) == {"activation", "muscle force", "joint angle"}  # no feet, no ground force
    assert solution.signals["activation"].shape == (2, motion.num_frames - 1, 64)
    np.testing.assert_array_equal(solution.signals["activation"][0], trial(0.1)["activation"][1:])


def test_trials_that_fell_or_are_of_another_clip_are_refused(trial):
    with pytest.raises(SignalError, match="'a' fails in frame 5"):
        trial_solution("a", [trial(0.1), trial(0.1, failed_at=5)])
    with pytest.raises(SignalError, match="differ in their clip"):
        trial_solution("a", [trial(0.1), dataclasses.replace(trial(0.1), clip="another")])


def test_the_command_writes_what_the_solutions_are(trial, motion, tmp_path, capsys):
    trial(0.1).save(tmp_path / f"soft{SUFFIX}")
    for i, level in enumerate((0.5, 0.51)):
        trial(level).save(tmp_path / "stiff" / f"{i}{SUFFIX}")
    reference = motion.save(tmp_path / "slow.ref.safetensors")
    arguments = ["trials", "solution-space", str(tmp_path / f"soft{SUFFIX}"), str(tmp_path / "stiff")]
    assert main([*arguments, "--costs", str(reference), "--out", str(tmp_path / "out")]) == 0
    assert "6 solutions of one motion" in capsys.readouterr().out
    with open(tmp_path / "out" / "distances.csv") as file:
        rows = {
            (row["modality"], row["first"], row["second"]): float(row["distance"] or "nan")
            for row in csv.DictReader(file)
        }
    assert {first for _, first, _ in rows} == {"soft", "stiff", *COSTS}
    assert rows["joint angle", "soft", "cost a³"] < 1e-5 < rows["activation", "stiff", "stiff"] < 0.1
    assert rows["activation", "soft", "stiff"] > 0.5
    assert all((tmp_path / "out" / f"{name}.png").stat().st_size > 5000 for name in FIGURES)


def test_costs_of_another_motion_are_refused(trial, motion, tmp_path, capsys):
    trial(0.1).save(tmp_path / f"a{SUFFIX}")
    other = dataclasses.replace(motion, name="large").save(tmp_path / "large.ref.safetensors")
    arguments = ["trials", "solution-space", str(tmp_path / f"a{SUFFIX}"), "--costs", str(other)]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "'large', the trials are of small" in capsys.readouterr().err


def test_an_empty_folder_is_explained(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["trials", "solution-space", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert "musclewarp evaluate POLICY --trials" in capsys.readouterr().err
