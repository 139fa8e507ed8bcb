"""A trial as a video: the simulated body, its muscles coloured by activation, the reference as a ghost."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import imageio_ffmpeg
import mujoco
import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import ConfigError, FileError, MusclewarpError
from musclewarp.evaluation.trial import Trial
from musclewarp.files import write_atomically
from musclewarp.models import MuscleModel
from musclewarp.viz.appearance import GHOST, drawn_copy, muscle_colours, muscle_tendons
from musclewarp.viz.headless import gl_hint

Image = NDArray[np.uint8]
_AZIMUTH, _ELEVATION = 122.0, -12.0  # degrees; from the front, a little from the body's left and from above
_EXTREMITIES = 0.15  # m; hands and skull reach this far beyond the tracking sites
_FARTHER = 1.4
_BEHIND = 0.02  # m; a ghost is drawn this much farther away, so that a body in its pose is seen, not tinted


def render_trial(
    model: MuscleModel,
    trial: Trial,
    path: str | Path,
    fps: int = 25,
    width: int = 640,
    height: int = 480,
    ghost: bool = True,
    on_frame: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `trial` as an mp4 (H.264) at its own speed; `on_frame(done, total)` is called after every frame.

    Raises:
        ConfigError: a size is odd or not positive, or fps is not positive.
        FileError: the trial is not of this model.
        MusclewarpError: nothing can be rendered or encoded here; says what to install.
    """
    if fps < 1:
        raise ConfigError(f"a video of {fps} frames per second; choose at least 1")
    frames = video_frames(trial.num_frames, trial.dt, fps)

    def write(temporary: Path) -> None:
        with open_scene(model, trial, width, height, ghost) as draw, _encoder(temporary, fps, width, height) as append:
            for done, frame in enumerate(frames):
                append(draw(int(frame)))
                if on_frame is not None:
                    on_frame(done + 1, len(frames))

    return write_atomically(path, write)


def video_frames(num_frames: int, dt: float, fps: int) -> NDArray[np.intp]:
    """The frames of a trial, `dt` s apart, nearest to the instants `k / fps` while it lasts; at least one."""
    count = max(1, round(num_frames * dt * fps))
    return np.minimum(np.round(np.arange(count) / (fps * dt)).astype(np.intp), num_frames - 1)


@contextlib.contextmanager
def _encoder(path: Path, fps: int, width: int, height: int) -> Generator[Callable[[Image], object]]:
    """Takes pictures, writes an mp4 that every browser plays."""
    options = f"-y -v error -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps} -i - "
    options += "-c:v libx264 -crf 15 -pix_fmt yuv420p -movflags +faststart"
    with tempfile.TemporaryFile() as messages:
        try:
            command = [imageio_ffmpeg.get_ffmpeg_exe(), *options.split(), str(path)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=messages)
        except (OSError, RuntimeError) as error:  # no ffmpeg for this platform
            raise _encoding_error(str(error)) from error
        assert process.stdin is not None
        left = None
        try:
            yield process.stdin.write
        except BrokenPipeError as error:  # ffmpeg has left, and said why
            left = error
        except BaseException:
            process.kill()
            raise
        finally:
            process.communicate()  # closes its input, and waits for it
        if left or process.returncode or not path.stat().st_size:
            messages.seek(0)
            said = " ".join(messages.read().decode(errors="replace").split())
            raise _encoding_error(said or f"ffmpeg ended with status {process.returncode}") from left


def _encoding_error(reason: str) -> MusclewarpError:
    return MusclewarpError(
        f"cannot encode a video ({reason}): reinstall imageio-ffmpeg, which brings ffmpeg with H.264, or name another "
        "one in the environment variable IMAGEIO_FFMPEG_EXE"
    )


@contextlib.contextmanager
def open_scene(
    model: MuscleModel, trial: Trial, width: int = 640, height: int = 480, ghost: bool = True
) -> Generator[Callable[[int], Image]]:
    """A function from a frame of `trial` to its picture `(height, width, 3)`, valid inside the `with`.

    Raises:
        ConfigError, FileError, MusclewarpError: as `render_trial`.
    """
    if min(width, height) < 2 or width % 2 or height % 2:
        raise ConfigError(f"a picture of {width} x {height} pixels; choose even sizes, which video needs")
    if trial.model_hash != model.hash:
        raise FileError(
            f"trial '{trial.clip}' was recorded on '{trial.model}' ({trial.model_hash[:8]}), not on this "
            f"'{model.name}' ({model.hash[:8]}); load the model it was recorded on"
        )
    drawn = drawn_copy(model, width, height)
    try:
        renderer = mujoco.Renderer(drawn, height, width, max_geom=10_000)
    except Exception as error:  # every backend has its own way to say that it is not there
        raise MusclewarpError(f"cannot render a video here ({error}): {gl_hint()}") from error
    with renderer:
        yield _Scene(model, trial, drawn, renderer, ghost).draw


class _Scene:
    """The two bodies, the camera and the renderer of one trial."""

    def __init__(
        self, model: MuscleModel, trial: Trial, drawn: mujoco.MjModel, renderer: mujoco.Renderer, ghost: bool
    ) -> None:
        self.trial, self.drawn, self.renderer = trial, drawn, renderer
        self.body = mujoco.MjData(drawn)
        self.ghost = mujoco.MjData(drawn) if ghost else None
        self.tendons = muscle_tendons(drawn)
        self.options, self.ghost_options = mujoco.MjvOption(), mujoco.MjvOption()
        for options in (self.options, self.ghost_options):
            options.geomgroup[:] = [1, 1, 0, 0, 0, 0]
            options.sitegroup[:] = 0
        self.options.geomgroup[2] = bool(model.feet)  # the floor; arms alone float above it
        self.ghost_options.flags[mujoco.mjtVisFlag.mjVIS_TENDON] = False
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            renderer.scene.flags[flag] = False
        self.camera = mujoco.MjvCamera()
        self.camera.azimuth, self.camera.elevation = _AZIMUTH, _ELEVATION
        rotation = _camera_rotation(_AZIMUTH, _ELEVATION)
        self.forward = rotation[:, 2]
        aspect = renderer.width / renderer.height
        self.targets, self.camera.distance = _framing(model, trial, aspect, drawn.vis.global_.fovy, rotation)

    def draw(self, frame: int) -> Image:
        """The picture of one frame."""
        trial, drawn, scene = self.trial, self.drawn, self.renderer.scene
        pulled = self.tendons >= 0
        drawn.tendon_rgba[self.tendons[pulled]] = muscle_colours(trial["activation"][frame])[pulled]
        self._place(self.body, trial["qpos"][frame])
        mujoco.mj_tendon(drawn, self.body)
        self.camera.lookat[:] = self.targets[frame]
        self.renderer.update_scene(self.body, self.camera, self.options)
        if self.ghost is not None:
            self._place(self.ghost, trial["reference_qpos"][frame])
            solid = scene.ngeom
            mujoco.mjv_addGeoms(
                drawn, self.ghost, self.ghost_options, mujoco.MjvPerturb(), mujoco.mjtCatBit.mjCAT_DYNAMIC, scene
            )
            for geom in scene.geoms[solid : scene.ngeom]:
                geom.rgba[:] = GHOST
                geom.pos[:] += _BEHIND * self.forward
        return self.renderer.render()

    def _place(self, data: mujoco.MjData, qpos: NDArray[np.float32]) -> None:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(self.drawn, data)
        mujoco.mj_comPos(self.drawn, data)
        mujoco.mj_camlight(self.drawn, data)


def _camera_rotation(azimuth: float, elevation: float) -> NDArray[np.float64]:
    """The camera's right, up and forward in the world, as columns; angles in degrees, as MuJoCo's free camera."""
    a, e = np.deg2rad([azimuth, elevation])
    forward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([np.sin(a), -np.cos(a), 0.0])
    return np.stack([right, np.cross(right, forward), forward], axis=1)


def _framing(
    model: MuscleModel, trial: Trial, aspect: float, fovy: float, rotation: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Where the camera looks in each frame `(T, 3)`, and from how far, m.

    Arms alone: at the middle of all that they reach, as seen. A whole body: at half its height, midway between the body
    and its ghost, whom it follows over the ground. Far enough to see both all the time, but not much farther than
    the reference alone would need: a body that fell and slid away may leave the picture.
    """
    own, reference = (trial[key].astype(np.float64) for key in ("site_pos", "reference_site_pos"))
    both = np.concatenate([own, reference], axis=1)
    if model.feet:
        targets = (own[:, 0] + reference[:, 0]) / 2
        targets[:, 2] = (reference[..., 2].min() + reference[..., 2].max()) / 2
    else:
        seen = both @ rotation
        targets = np.tile(rotation @ (seen.min(axis=(0, 1)) + seen.max(axis=(0, 1))) / 2, (trial.num_frames, 1))
    slopes = np.tan(np.deg2rad(fovy) / 2) * np.array([aspect, 1.0])

    def needed(points: NDArray[np.float64]) -> float:
        seen = (points - targets[:, None]) @ rotation  # right, up, away from the camera
        beyond = (np.abs(seen[..., :2]) + _EXTREMITIES) / slopes
        return float((beyond.max(axis=-1) - seen[..., 2]).max())

    return targets, min(needed(both), _FARTHER * needed(reference))
