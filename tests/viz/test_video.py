"""Videos: what a pixel shows, what a file holds, what a user reads where nothing can be rendered."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import mujoco
import numpy as np
import pytest

from musclewarp.errors import ConfigError, FileError, MusclewarpError
from musclewarp.models import load_model
from musclewarp.viz import headless
from musclewarp.viz.appearance import drawn_copy, muscle_colours, muscle_tendons
from musclewarp.viz.video import open_scene, render_trial, video_frames

SIZE = (160, 120)


def redness(picture: np.ndarray) -> np.ndarray:
    pixels = picture.astype(float)
    return pixels[..., 0] - pixels[..., 1:].mean(axis=-1)


def test_active_muscles_render_redder_than_relaxed_ones(headless_gl, model, make_trial):
    trial = make_trial(model)
    trial.arrays["activation"][1] = 1.0
    with open_scene(model, trial, *SIZE, ghost=False) as draw:
        relaxed, active = draw(0), draw(1)
    changed = np.abs(relaxed.astype(int) - active).sum(axis=-1) > 30
    assert changed.sum() > 100  # the muscles are seen
    assert (redness(active)[changed] > redness(relaxed)[changed]).mean() > 0.99
    assert (redness(active) > 120).any()
    assert not (redness(relaxed) > 60).any()


def test_one_active_muscle_reddens_its_own_tendon_only(model):
    drawn = drawn_copy(model, *SIZE)
    tendons = muscle_tendons(drawn)
    assert [drawn.tendon(tendon).id for tendon in tendons] == [int(trn) for trn in drawn.actuator_trnid[:, 0]]
    assert len(set(tendons)) == model.mj_model.nu
    assert drawn.ntendon > model.mj_model.nu  # ligaments, which keep their pale colour
    colours = muscle_colours(np.eye(model.mj_model.nu)[3])
    assert colours[3, 0] > 0.9
    assert colours[3, 2] < 0.1
    assert (colours[np.arange(len(colours)) != 3, 0] < 0.6).all()


def test_colour_never_leaves_its_range_for_activations_out_of_theirs():
    assert np.allclose(muscle_colours(np.array([-0.5, 1.5])), muscle_colours(np.array([0.0, 1.0])))


def test_ghost_shows_where_the_reference_differs(headless_gl, model, make_trial):
    pictures = {}
    for offset in (0.0, 0.6):
        for ghost in (False, True):
            with open_scene(model, make_trial(model, offset=offset), *SIZE, ghost=ghost) as draw:
                pictures[offset, ghost] = draw(0).astype(int)

    def share_changed(offset: float) -> float:
        return float((np.abs(pictures[offset, True] - pictures[offset, False]).sum(axis=-1) > 30).mean())

    assert share_changed(0.6) > 0.005
    assert share_changed(0.6) > 3 * share_changed(0.0)


def test_video_has_the_trials_duration_size_and_frames(headless_gl, model, make_trial, tmp_path):
    trial = make_trial(model, frames=20)  # 0.4 s
    seen = []
    path = render_trial(model, trial, tmp_path / "new" / "out.mp4", 25, *SIZE, on_frame=lambda *at: seen.append(at))
    frames = iio.imread(path)
    assert frames.shape == (10, 120, 160, 3)
    meta = iio.immeta(path)
    assert meta["fps"] == 25
    assert meta["duration"] == pytest.approx(0.4, abs=0.01)
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p")
    assert seen == [(i + 1, 10) for i in range(10)]
    assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    ("num_frames", "dt", "fps", "expected"),
    [(5, 0.02, 50, [0, 1, 2, 3, 4]), (6, 0.02, 25, [0, 2, 4]), (1, 0.02, 25, [0]), (3, 0.04, 50, [0, 0, 1, 2, 2, 2])],
)
def test_frames_are_sampled_at_the_videos_rate(num_frames, dt, fps, expected):
    assert video_frames(num_frames, dt, fps).tolist() == expected


def test_rendering_leaves_the_models_looks_alone(headless_gl, model, make_trial):
    m = model.mj_model
    fields = ("tendon_rgba", "tendon_width", "geom_rgba", "geom_matid", "mesh_face", "mesh_facenum", "tex_data")
    fields += ("light_diffuse", "mat_reflectance")
    before = {field: getattr(m, field).copy() for field in fields}
    with open_scene(model, make_trial(model, activation=1.0), *SIZE) as draw:
        draw(0)
    for field in fields:
        assert np.array_equal(before[field], getattr(m, field)), field


def test_whole_body_stands_on_a_floor_in_the_picture(headless_gl, make_trial):
    body = load_model("myofullbody")
    with open_scene(body, make_trial(body, frames=1), *SIZE) as draw:
        picture = draw(0).astype(int)
    sky, floor = picture[2, 2], picture[-3, 2]
    assert sky.min() > 200
    assert floor.max() < 200
    body_pixels = np.abs(picture - sky).sum(axis=-1)[:20] > 60  # the skull is against the sky, near the top
    assert body_pixels.any()


def test_a_failing_frame_leaves_no_file(headless_gl, model, make_trial, tmp_path):
    def stop(done: int, total: int) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        render_trial(model, make_trial(model), tmp_path / "out.mp4", 25, *SIZE, on_frame=stop)
    assert not list(tmp_path.iterdir())


def test_without_opengl_the_error_says_what_to_install(model, make_trial, tmp_path, monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise mujoco.FatalError("no context")

    monkeypatch.setattr(mujoco, "Renderer", fail)
    monkeypatch.setattr(headless.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(MusclewarpError, match=r"no context.*libegl1.*libosmesa6"):
        render_trial(model, make_trial(model), tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(headless.ctypes.util, "find_library", lambda name: name if name == "OSMesa" else None)
    with pytest.raises(MusclewarpError, match="MUJOCO_GL=osmesa"):
        render_trial(model, make_trial(model), tmp_path / "out.mp4")


def test_without_ffmpeg_the_error_says_so(headless_gl, model, make_trial, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-such-ffmpeg"))
    with pytest.raises(MusclewarpError, match="imageio-ffmpeg"):
        render_trial(model, make_trial(model), tmp_path / "new" / "out.mp4", 25, *SIZE)
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("cat > /dev/null; exit 1", "ffmpeg ended with status 1"),
        ('cat > /dev/null; for last; do :; done; echo half > "$last"; exit 1', "ffmpeg ended with status 1"),
        ("cat > /dev/null", "ffmpeg ended with status 0"),  # and wrote nothing
        ("echo \"Unknown encoder 'libx264'\" >&2; exit 8", "Unknown encoder 'libx264'"),
        ("exec 0<&-; sleep 0.2; exit 0", "ffmpeg ended with status 0"),
    ],
)
def test_a_failed_encode_is_an_error_and_leaves_the_old_video(
    headless_gl, model, make_trial, tmp_path, monkeypatch, script, says
):
    ffmpeg, path = tmp_path / "ffmpeg", tmp_path / "videos" / "out.mp4"
    ffmpeg.write_text(f"#!/bin/sh\n{script}\n")
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(ffmpeg))
    path.parent.mkdir()
    path.write_text("a good video")
    with pytest.raises(MusclewarpError, match=rf"cannot encode a video \({says}\): reinstall imageio-ffmpeg"):
        render_trial(model, make_trial(model, frames=20), path, 25, *SIZE)
    assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]
    assert path.read_text() == "a good video"


def test_bad_sizes_rates_and_trials_are_refused(model, make_trial, tmp_path):
    trial = make_trial(model)
    with pytest.raises(ConfigError, match="even"):
        render_trial(model, trial, tmp_path / "out.mp4", width=161)
    with pytest.raises(ConfigError, match="frames per second"):
        render_trial(model, trial, tmp_path / "out.mp4", fps=0)
    with pytest.raises(FileError, match="recorded on"):
        render_trial(model, dataclasses.replace(trial, model_hash="0" * 64), tmp_path / "out.mp4")


@pytest.mark.parametrize(
    ("environment", "libraries", "expected"),
    [
        ({}, {"EGL", "OSMesa"}, "egl"),
        ({}, {"OSMesa"}, "osmesa"),
        ({}, set(), None),
        ({"DISPLAY": ":0"}, {"EGL"}, None),
        ({"MUJOCO_GL": "osmesa"}, {"EGL", "OSMesa"}, "osmesa"),
    ],
)
def test_headless_gl_takes_the_library_that_is_there(environment, libraries, expected, monkeypatch):
    for name in ("DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(headless.sys, "platform", "linux")
    monkeypatch.setattr(headless.ctypes.util, "find_library", lambda name: name if name in libraries else None)
    assert headless.headless_gl() == expected
    assert os.environ.get("MUJOCO_GL") == expected


def test_headless_gl_is_asked_before_mujoco_is_imported():
    code = "import sys; from musclewarp.viz.headless import headless_gl; headless_gl(); print('mujoco' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"
