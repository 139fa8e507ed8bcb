"""Recordings in degrees, millimetres or frames of another length are told, whichever the format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from musclewarp.errors import FileError
from musclewarp.motion.read import read_motion

DEMO = Path(__file__).parents[2] / "data" / "motions" / "demo" / "whole_body.npz"


@pytest.mark.parametrize(
    ("key", "factor", "message"),
    [
        ("poses", 180 / np.pi, r"is turned by .* rad in frame \d+, which looks like degrees"),
        ("trans", 1000.0, r"the root is .* m high in frame \d+, which looks like millimetres"),
        ("trans", 100.0, r"which looks like millimetres or centimetres; convert 'trans' to metres"),
        ("mocap_framerate", 1e-3, r"frames per second"),
        ("mocap_framerate", np.nan, r"mocap_framerate"),
    ],
)
def test_amass_in_other_units_is_refused(tmp_path, key, factor, message):
    arrays = dict(np.load(DEMO))
    rate = next((name for name in arrays if name in ("mocap_framerate", "mocap_frame_rate", "fps")), key)
    name = rate if key == "mocap_framerate" else key
    arrays[name] = arrays[name] * factor
    if key == "trans":
        arrays["trans"] = arrays["trans"] + [0.0, 0.0, 0.9 * factor]  # as high as a pelvis
    np.savez(tmp_path / "clip.npz", **arrays)
    with pytest.raises(FileError, match=message.replace("mocap_framerate", name)):
        read_motion(tmp_path / "clip.npz")


def test_a_pelvis_that_turned_round_three_times_is_not_in_degrees(tmp_path):
    arrays = dict(np.load(DEMO))
    turned = np.linalg.norm(arrays["poses"][:, :3], axis=1, keepdims=True)
    unwrapped = arrays["poses"].copy()
    unwrapped[:, :3] *= 1 + 6 * np.pi / turned  # the same rotations
    np.savez(tmp_path / "unwrapped.npz", **arrays | {"poses": unwrapped})
    found, expected = read_motion(tmp_path / "unwrapped.npz").rotations, read_motion(DEMO).rotations
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=-1)), 1.0, atol=1e-9)


@pytest.mark.parametrize(
    ("column", "factor", "message"),
    [
        (2, 1000.0, r"root height in frame 0"),
        (2, 100.0, r"root height in frame 0"),
        (20, 180 / np.pi, r"right_knee in frame \d+ is .* expected rad"),
        (0, 1e-3, r"frames last .* s, expected"),
        (0, 1e3, r"frames last .* s, expected"),
    ],
)
def test_deepmimic_in_other_units_is_refused(tmp_path, data_root, column, factor, message):
    content = json.loads((data_root / "motions" / "deepmimic" / "humanoid3d_run.txt").read_text())
    for frame in content["Frames"]:
        frame[column] *= factor
    path = tmp_path / "humanoid3d_clip.txt"
    path.write_text(json.dumps(content))
    with pytest.raises(FileError, match=message):
        read_motion(path)
