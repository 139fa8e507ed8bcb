"""The page of a reference: what its scene holds against MuJoCo's kinematics, and what its controls do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from musclewarp.cli import main
from musclewarp.errors import ConfigError, FileError
from musclewarp.models.excursion import place_tendons
from musclewarp.references.loop import cut_loop
from musclewarp.references.reference import Reference, make_reference
from musclewarp.viz.appearance import muscle_colours, muscle_tendons
from musclewarp.viz.figures import stick_figure
from musclewarp.viz.viewer import ReferenceViewer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def walk(body, movement) -> Reference:
    """Half a second, with a recording that is 5 cm higher."""
    made = make_reference(body, movement(body, 26, 0.02), 0.02, "walk")
    return replace(made, target_positions=made.site_positions + np.array([0.0, 0.0, 0.05]))


@pytest.fixture(scope="module")
def swing(arms, movement) -> Reference:
    """Arms that swing for ever, and know their activations."""
    random = np.random.default_rng(0)
    long = make_reference(arms, movement(arms, 80, 0.02), 0.02, "swing")
    return replace(
        cut_loop(arms, long, (0.2, 1.2), name="swing"), activations=random.uniform(size=(51, arms.mj_model.nu))
    )


@pytest.fixture
def open_page(body, arms):
    """`open_page(reference, ...)`: a viewer of them on any free port, closed in the end."""
    pages = []

    def open_page(*references: Reference, clip: str | None = None) -> ReferenceViewer:
        known = {reference.name: reference for reference in references}
        models = {model.name: model for model in (body, arms)}

        def load(path: Path):
            if path.name not in known:
                raise FileError(f"{path.name} is truncated")
            return models[known[path.name].model], known[path.name]

        names = [*known, "broken"]
        pages.append(ReferenceViewer({name: Path(name) for name in names}, load, clip, port=0))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


def placed(model, qpos) -> mujoco.MjData:
    data = mujoco.MjData(model.mj_model)
    place_tendons(model.mj_model, data, qpos)
    return data


def check_scene(page: ReferenceViewer, model, qpos, joints):
    """Bodies, sticks and tendons are where MuJoCo's kinematics puts them at `qpos`, the recording at `joints`."""
    data, scene, edges = placed(model, qpos), page.scene, stick_figure(model.sites)
    assert len(scene.bodies) > 40
    for name, node in scene.bodies.items():
        np.testing.assert_allclose(node.position, data.body(name).xpos, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(np.abs(node.wxyz @ data.body(name).xquat), 1.0, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(scene.body_sticks.points, data.site_xpos[model.site_ids][edges], atol=1e-5)
    np.testing.assert_allclose(scene.recording.points, joints[edges], atol=1e-5)
    drawn = np.linalg.norm(np.diff(scene.tendons.points.astype(float), axis=1), axis=-1).sum()
    # round what they wrap, tendons are drawn as chords
    assert 0.98 * data.ten_length.sum() < drawn <= data.ten_length.sum() + 1e-3


def test_the_page_is_served_and_holds_the_posture_of_the_frame_that_the_slider_is_moved_to(open_page, body, walk):
    page = open_page(walk)
    with urllib.request.urlopen(page.url, timeout=10) as answer:
        assert b"<html" in answer.read().lower()
    for frame in (0, 13, 25):
        page.slider.value = frame * walk.dt
        assert page.frame == frame
        check_scene(page, body, walk.qpos[frame], walk.target_positions[frame])
        root = page.scene.world.position + walk.site_positions[frame, 0]
        np.testing.assert_allclose(root[:2], 0.0, atol=1e-6)  # it stays in sight
        assert f"frame {frame} of 26: 5.0 cm" in page.said.content
    page.aside.value = 0.0
    np.testing.assert_allclose(page.scene.recording.position, 0.0)


def test_a_clip_plays_to_its_end_stops_there_and_begins_again(open_page, walk):
    page = open_page(walk)
    page.advance(0.1)
    assert page.frame == 0, "it has not been started"
    page.toggle()
    page.advance(0.1)
    assert (page.frame, page.play.label) == (5, "Pause")
    assert page.slider.value == pytest.approx(0.1)
    page.speed.value = 2.0
    page.advance(0.05)
    assert page.frame == 10
    page.advance(10.0)
    assert (page.frame, page.play.label) == (25, "Play")
    page.advance(0.1)
    assert page.frame == 25
    page.toggle()
    page.advance(0.02)
    assert page.frame == 2


def test_a_walk_that_loops_leads_on_for_ever(open_page, body, walk, gait_loop):
    page, period = open_page(gait_loop), gait_loop.num_frames - 1
    page.toggle()
    for _ in range(7):
        page.advance(gait_loop.duration)
    page.advance(0.1)
    assert page.frame == 7 * period + 5
    assert page.slider.value == pytest.approx(0.1, abs=1e-6)
    expected = gait_loop.qpos[5].copy()
    expected[:2] += 7 * (gait_loop.qpos[-1, :2] - gait_loop.qpos[0, :2])  # straight on
    joints = gait_loop.target_positions[5] + [*(expected[:2] - gait_loop.qpos[5, :2]), 0.0]
    check_scene(page, body, expected, joints)
    page.slider.value = 0.2
    assert page.frame == 7 * period + 10, "the slider moves within the cycle"


@pytest.fixture(scope="module")
def gait_loop(body) -> Reference:
    """Legs that swing while the body goes 1 m/s straight on."""
    m, time = body.mj_model, 0.02 * np.arange(101)
    qpos = np.tile(m.qpos0, (101, 1))
    for side, sign in (("r", 1.0), ("l", -1.0)):
        qpos[:, m.joint(f"hip_flexion_{side}").qposadr[0]] = 0.4 * sign * np.cos(2 * np.pi * time)
    qpos[:, 1] -= time
    return cut_loop(body, make_reference(body, qpos, 0.02, "gait"), (0.4, 1.4))


def test_muscles_are_as_red_as_they_are_active(open_page, arms, swing):
    page = open_page(swing)
    page.slider.value = 0.3
    _, tendon = page.scene._paths.pieces(placed(arms, swing.qpos[15]))
    pulled = muscle_tendons(arms.mj_model)
    expected = np.round(255 * muscle_colours(swing.activations[15])[:, :3])
    for muscle in (0, 17, 63):
        own = page.scene.tendons.colors[tendon == pulled[muscle]]
        assert len(own) > 0
        np.testing.assert_allclose(own, np.broadcast_to(expected[muscle], own.shape), atol=1)


def test_another_clip_of_another_model_is_chosen_and_one_that_cannot_be_read_is_told(open_page, arms, walk, swing):
    page = open_page(walk, swing)
    page.toggle()
    page.choice.value = "swing"
    assert page.play.label == "Play"
    assert page.slider.max == pytest.approx(swing.duration)
    check_scene(page, arms, swing.qpos[0], swing.target_positions[0])
    page.toggle()
    page.choice.value = "broken"
    page.advance(0.1)
    assert page.said.content == "**broken** cannot be shown: broken is truncated"
    assert page.play.label == "Play"
    page.slider.value = 0.1
    check_scene(page, arms, swing.qpos[5], swing.target_positions[5])


def test_a_movement_without_recorded_joints_says_so_and_shows_none(open_page, walk):
    page = open_page(walk, replace(walk, name="angles", target_positions=walk.site_positions))
    assert page.scene.recording.visible
    page.choice.value = "angles"
    assert not page.scene.recording.visible
    assert not page.aside.visible
    assert page.said.content == "angles, frame 0 of 26: no joints were recorded"
    page.choice.value = "walk"
    assert page.aside.visible


def test_what_cannot_be_shown_is_an_error_that_says_why(open_page, walk, tmp_path, capsys, monkeypatch):
    with pytest.raises(ConfigError, match="--port is 70000"):
        ReferenceViewer({"walk": Path("walk")}, lambda path: None, port=70000)
    with pytest.raises(FileError, match="another version"):
        open_page(replace(walk, model_hash="other"))
    monkeypatch.chdir(tmp_path)
    assert main(["references", "view", "nothing"]) == 2
    assert "nothing: no such file or folder of references" in capsys.readouterr().err
    walk.save("refs/s1/walk.ref.safetensors")
    walk.save("refs/s2/walk.ref.safetensors")
    assert main(["references", "view", "refs", "--clip", "s3/walk"]) == 2
    assert "no reference is called 's3/walk'; choose one of s1/walk, s2/walk" in capsys.readouterr().err
    monkeypatch.setenv("MUSCLEWARP_DATA", "nowhere")
    replace(walk, model="ms_human_700").save("refs/other.ref.safetensors")
    assert main(["references", "view", "refs/other.ref.safetensors"]) == 2
    assert "put the folder ms_human_700 of MuJoCo Menagerie" in capsys.readouterr().err


def test_the_command_prints_its_address_and_ends_with_ctrl_c(swing, tmp_path):
    path = swing.save(tmp_path / "swing.ref.safetensors")
    command = [sys.executable, "-m", "musclewarp.cli", "references", "view", str(path), "--port", "0"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COVERAGE_"))}
    with subprocess.Popen(
        command, env=environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        address = run.stdout.readline().split()[0]
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.status == 200
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=60)[1]
    assert run.returncode == 0
    assert "Traceback" not in said
