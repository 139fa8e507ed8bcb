"""References in a browser: the model's body and tendons, and beside them the joints of the recording, at any time."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import mujoco
import numpy as np
import torch
import viser
from numpy.typing import ArrayLike, NDArray

from musclewarp.errors import ConfigError, MusclewarpError
from musclewarp.models import MuscleModel
from musclewarp.models.excursion import place_tendons
from musclewarp.references.cycle import cycle_of
from musclewarp.references.reference import Reference
from musclewarp.viz.appearance import BONE, GHOST, drawn_copy
from musclewarp.viz.figures import Tendons, body_meshes, stick_figure

Floats = NDArray[np.float64]
PORT = 8080
_TICK = 1 / 30  # s
_ASIDE = 0.8  # m between body and recording, at first
_FLOOR, _CELL = 12.0, 1.0  # m, of the floor and of its squares
_FRONT, _LEFT, _ABOVE, _FOV = 3.2, -1.2, 0.3, 0.8  # m from what it looks at to the camera; rad
_LARGEST_PORT = 65535


class Scene:
    """One reference on a page. Everything stands in the world frame below one node, which keeps the root in sight.

    Attributes:
        reference: what is shown.
        facing: unit vector `(3,)`, horizontal: where the body looks in the first frame.
        world: the node below which everything stands.
        bodies: by the names of the model's bodies, the nodes of their meshes.
        body_sticks, recording, tendons: line segments; the second's node is moved aside.
        recorded: whether there are joints of a recording, other than the model's own.
    """

    def __init__(self, server: viser.ViserServer, model: MuscleModel, reference: Reference) -> None:
        reference.check_model(model)
        self.recorded = bool(np.abs(reference.target_positions - reference.site_positions).max() > 1e-6)
        self.reference, self._server, self._m = reference, server, drawn_copy(model, 64, 64)
        self._data, self._paths, self._site_ids = mujoco.MjData(self._m), Tendons(self._m), model.site_ids
        self._edges, self._follows = stick_figure(model.sites), model.has_free_root
        self._cycle = cycle_of(reference.qpos) if reference.loop and model.has_free_root else None
        scene, nothing = server.scene, np.zeros((1, 2, 3))
        scene.reset()
        self.world = scene.add_frame("/world", show_axes=False)
        self._floor = scene.add_grid("/world/floor", _FLOOR, _FLOOR, cell_size=_CELL, visible=bool(model.feet))
        self.bodies = {
            self._m.body(body).name: scene.add_mesh_simple(
                f"/world/body/{body}", mesh.vertices, mesh.faces, color=_colour(BONE), side="double", cast_shadow=False
            )
            for body, mesh in body_meshes(self._m).items()
        }
        # also of the model, which may come without bones
        self.body_sticks = scene.add_line_segments("/world/sticks", nothing, _colour(BONE), thickness=0.012)
        self.tendons = scene.add_line_segments("/world/tendons", nothing, _colour(BONE), thickness=0.004)
        self.recording = scene.add_line_segments("/world/recording", nothing, _colour(GHOST), thickness=0.02)
        self.recording.visible = self.recorded
        place_tendons(self._m, self._data, reference.qpos[0])
        forward = self._data.site_xmat[model.site_ids[0], [0, 3, 6]] if model.has_free_root else np.array([0.0, -1, 0])
        self.facing = forward * [1, 1, 0] / max(float(np.hypot(*forward[:2])), 1e-6)

    @property
    def left(self) -> Floats:
        """Unit vector `(3,)` to the body's left."""
        return np.cross([0.0, 0.0, 1.0], self.facing)

    def row(self, frame: int) -> tuple[int, int]:
        """The reference's frame that is shown at `frame`, which counts on for ever in a loop, and its cycle."""
        last = self.reference.num_frames - 1
        cycle, row = divmod(frame, last) if self.reference.loop else (0, min(frame, last))
        return row, cycle

    def posture(self, frame: int) -> tuple[Floats, Floats]:
        """`qpos (nq,)` and the recorded joints `(S, 3)` m at a frame, where the cycles of a loop have led."""
        row, cycle = self.row(frame)
        qpos, joints = self.reference.qpos[row], self.reference.target_positions[row]
        if self._cycle is None:
            return qpos, joints
        place = self._cycle.after(torch.zeros(1, dtype=torch.int64), torch.tensor([cycle]))
        rows = torch.from_numpy(qpos[None]), torch.from_numpy(joints[None])
        return place.place_qpos(rows[0]).numpy()[0], place.place(rows[1]).numpy()[0]

    def show(self, frame: int, aside: float) -> None:
        """Draw a frame, the recording `aside` m to the body's left."""
        qpos, joints = self.posture(frame)
        known = self.reference.activations
        place_tendons(self._m, self._data, qpos)
        own = self._data.site_xpos[self._site_ids]
        pieces, tendon = self._paths.pieces(self._data)
        colours = self._paths.colours(None if known is None else known[self.row(frame)[0]])[tendon]
        with self._server.atomic():
            for name, node in self.bodies.items():
                node.position, node.wxyz = self._data.body(name).xpos, self._data.body(name).xquat
            self.body_sticks.points = own[self._edges].astype(np.float32)
            self.tendons.points = pieces.astype(np.float32)
            self.tendons.colors = _bytes(np.stack((colours, colours), axis=1))
            self.recording.points = joints[self._edges].astype(np.float32)
            self.recording.position = aside * self.left
            if self._follows:
                root = own[0] * [1, 1, 0]
                self.world.position, self._floor.position = -root, np.round(root / _CELL) * _CELL


class ReferenceViewer:
    """A page that shows references, one at a time.

    Args:
        paths: of the references, by the names under which they are chosen.
        load: the model and the reference of a path.
        clip: the name of the one that is shown first; default: the first of `paths`.
        port: of this machine, or the next free one; 0: any.

    Attributes:
        scene: what is drawn now.
        choice: the clips.
        slider: s since the beginning of the clip, or of a loop's cycle; assign its `value` to move it.
        play: the button that starts and stops.
        speed: over that of the recording.
        aside: m between body and recording.
        said: what is told of the frame that is shown.

    Raises:
        ConfigError: no such port.
        MusclewarpError: the first clip cannot be read, or no server can be started.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        load: Callable[[Path], tuple[MuscleModel, Reference]],
        clip: str | None = None,
        port: int = PORT,
    ) -> None:
        if not 0 <= port <= _LARGEST_PORT:
            raise ConfigError(f"--port is {port}; choose one in [0, {_LARGEST_PORT}]")
        clip = next(iter(paths)) if clip is None else clip
        self._paths, self._load, self._lock = paths, load, threading.RLock()
        self._playing, self._time = False, 0.0
        first = load(paths[clip])
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # viser draws a box around the address
                self.server = viser.ViserServer(host="127.0.0.1", port=port, label="musclewarp", verbose=False)
        except OSError as error:
            raise MusclewarpError(f"cannot serve on port {port} ({error}); choose another with --port") from error
        gui = self.server.gui
        self.choice = gui.add_dropdown("clip", tuple(paths), initial_value=clip, visible=len(paths) > 1)
        self.slider = gui.add_slider("time, s", 0.0, 1.0, 0.01, 0.0)
        self.play = gui.add_button("Play")
        self.speed = gui.add_slider("speed", 0.1, 2.0, 0.1, 1.0)
        self.aside = gui.add_slider("recording aside, m", 0.0, 2.0, 0.1, _ASIDE)
        self.said = gui.add_markdown("")
        self._open(*first)
        self.choice.on_update(lambda _: self._choose(self.choice.value))
        self.slider.on_update(lambda _: self._seek(self.slider.value))
        self.play.on_click(lambda _: self.toggle())
        self.aside.on_update(lambda _: self._show())

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://localhost:{self.server.get_port()}"

    @property
    def frame(self) -> int:
        """That is shown; in a loop it counts on for ever."""
        return int(self._time / self.scene.reference.dt + 1e-6)

    def run(self) -> None:
        """Serve until Ctrl-C."""
        last = time.perf_counter()
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(_TICK)
                now = time.perf_counter()
                self.advance(now - last)
                last = now
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self.server.stop()

    def toggle(self) -> None:
        """Play, or pause; what has come to its end begins again."""
        with self._lock:
            self._playing = not self._playing
            if self._playing and self._ended:
                self._time = 0.0
            self.play.label = "Pause" if self._playing else "Play"

    def advance(self, seconds: float) -> None:
        """Let time pass: a clip that plays goes on to its end, a loop for ever."""
        with self._lock:
            if not self._playing:
                return
            duration, loop = self.scene.reference.duration, self.scene.reference.loop
            self._time += seconds * self.speed.value
            if self._ended:
                self._time, self._playing, self.play.label = duration, False, "Play"
            self._show()
            self.slider.value = self._time % duration if loop else self._time

    @property
    def _ended(self) -> bool:
        return not self.scene.reference.loop and self._time >= self.scene.reference.duration

    def _choose(self, clip: str) -> None:
        with self._lock:
            try:
                self._open(*self._load(self._paths[clip]))
            except MusclewarpError as error:  # the others can be looked at
                self._playing, self.play.label = False, "Play"
                self.said.content = f"**{clip}** cannot be shown: {error}"

    def _open(self, model: MuscleModel, reference: Reference) -> None:
        scene = self.scene = Scene(self.server, model, reference)
        self.aside.visible = scene.recorded
        self._playing, self._time, self.play.label = False, 0.0, "Play"
        self.slider.max, self.slider.step, self.slider.value = reference.duration, reference.dt, 0.0
        middle = (self.aside.value / 2) * scene.left + [0.0, 0.0, reference.site_positions[0, 0, 2]]
        camera = self.server.initial_camera
        camera.fov = _FOV
        camera.look_at = middle
        camera.position = middle + _FRONT * scene.facing + _LEFT * scene.left + [0.0, 0.0, _ABOVE]
        self._show()

    def _seek(self, seconds: float) -> None:
        """To a time of the clip, or of the cycle that a loop has got to."""
        with self._lock:
            reference = self.scene.reference
            begun = self._time - self._time % reference.duration if reference.loop else 0.0
            if abs(begun + seconds - self._time) > 1e-9:  # else the slider follows what plays
                self._time = begun + seconds
                self._show()

    def _show(self) -> None:
        with self._lock:
            self.scene.show(self.frame, self.aside.value)
            reference, (row, _) = self.scene.reference, self.scene.row(self.frame)
            off = np.linalg.norm(reference.site_positions[row] - reference.target_positions[row], axis=-1)
            told = (
                f"{100 * off.mean():.1f} cm from the recording, {reference.sites[int(off.argmax())]} "
                f"{100 * off.max():.1f} cm"
            )
            told = told if self.scene.recorded else "no joints were recorded"
            self.said.content = f"{reference.name}, frame {row} of {reference.num_frames}: {told}"


def _bytes(colours: ArrayLike) -> NDArray[np.uint8]:
    return np.round(255 * np.asarray(colours)).astype(np.uint8)


def _colour(rgba: tuple[float, ...]) -> tuple[int, int, int]:
    red, green, blue = _bytes(rgba[:3]).tolist()
    return red, green, blue
