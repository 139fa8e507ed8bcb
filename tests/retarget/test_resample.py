"""Resampling: what is slow stays, what the new rate cannot hold goes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from musclewarp.errors import FileError
from musclewarp.motion import rotations
from musclewarp.motion.motion import SMPL_JOINTS, Motion
from musclewarp.retarget.pipeline import resample

ELBOW = SMPL_JOINTS.index("left_elbow")


def motion_of(fps: float, seconds: float, rotvec=None, translation=None) -> Motion:
    """The left elbow turns by `rotvec(time)`, the pelvis moves by `translation(time)`; the rest is still."""
    time = np.arange(round(seconds * fps) + 1) / fps
    local = np.tile(rotations.IDENTITY, (len(time), len(SMPL_JOINTS), 1))
    if rotvec is not None:
        local[:, ELBOW] = rotations.from_rotvec(rotvec(time))
    moved = np.zeros((len(time), 3)) if translation is None else translation(time)
    return Motion("made", local, moved, fps)


def amplitude(signal: np.ndarray, rate: float, frequency: float) -> float:
    """Of one frequency in `signal (T,)`, by least squares, away from the ends."""
    inner = slice(round(0.5 * rate), len(signal) - round(0.5 * rate))
    time = np.arange(len(signal))[inner] / rate
    angle = 2 * np.pi * frequency * time
    basis = np.stack([np.sin(angle), np.cos(angle), np.ones_like(time)], 1)
    return float(np.linalg.norm(np.linalg.lstsq(basis, signal[inner], rcond=None)[0][:2]))


def test_a_component_above_what_the_new_rate_holds_is_removed_and_a_slow_one_kept():
    def wave(frequency):
        return lambda time: 0.1 * np.sin(2 * np.pi * frequency * time)[:, None] * [1.0, 0.0, 0.0]

    for key in ("rotvec", "translation"):
        for frequency, low, high in ((2.0, 0.099, 0.101), (45.0, 0.0, 0.001), (30.0, 0.0, 0.03)):
            made = resample(motion_of(120.0, 4.0, **{key: wave(frequency)}), 0.02)
            signal = made.translation[:, 0]
            if key == "rotvec":
                signal = rotations.to_rotvec(made.rotations[:, ELBOW])[:, 0]
            seen = min(frequency, abs(50.0 - frequency))  # where it would fold to
            assert low <= amplitude(signal, 50.0, seen) <= high, (key, frequency)


@pytest.mark.parametrize("frames", [10, 20])
@pytest.mark.parametrize("key", ["rotvec", "translation"])
def test_short_clips_lose_what_the_new_rate_cannot_hold_too(key, frames):
    def wave(time):
        return 0.1 * np.sin(2 * np.pi * 45 * time)[:, None] * [1.0, 0.0, 0.0]

    made = resample(motion_of(120.0, (frames - 1) / 120.0, **{key: wave}), 0.02)
    signal = made.translation[:, 0]
    if key == "rotvec":
        signal = rotations.to_rotvec(made.rotations[:, ELBOW])[:, 0]
    sampled = np.interp(0.02 * np.arange(len(signal)), np.arange(frames) / 120, wave(np.arange(frames) / 120)[:, 0])
    assert np.ptp(signal) < 0.25 * np.ptp(sampled)  # which folds to 5 Hz


def test_24_hz_are_attenuated_where_50_hz_can_only_just_hold_them():
    made = motion_of(120.0, 4.0, translation=lambda t: np.sin(2 * np.pi * 24 * t)[:, None] * [1.0, 0, 0])
    assert amplitude(resample(made, 0.02).translation[:, 0], 50.0, 24.0) < 0.3


def test_what_the_new_rate_can_hold_is_not_filtered():
    made = motion_of(30.0, 4.0, translation=lambda t: np.sin(2 * np.pi * 10 * t)[:, None] * [1.0, 0, 0])
    resampled = resample(made, 1 / 60)
    np.testing.assert_allclose(resampled.translation[::2], made.translation, atol=1e-12)


@pytest.mark.parametrize("key", ["rotvec", "translation"])
@pytest.mark.parametrize("fps", [24.0, 30.0, 59.94, 60.0, 100.0, 120.0, 250.0])
def test_slow_components_keep_their_amplitude_without_images_and_fast_ones_vanish(fps, key):
    def heard(frequency: float) -> tuple[float, float]:
        """Gain of a component, and amplitude of all that is not its."""
        wave = {key: lambda time: 0.1 * np.sin(2 * np.pi * frequency * time)[:, None] * [1.0, 0.0, 0.0]}
        made = resample(motion_of(fps, 4.0, **wave), 0.02)
        signal = made.translation[:, 0] if key == "translation" else rotations.to_rotvec(made.rotations[:, ELBOW])[:, 0]
        inner = signal[25:-25]
        angle = 2 * np.pi * frequency * 0.02 * np.arange(len(signal))[25:-25]
        basis = np.stack([np.sin(angle), np.cos(angle)], 1)
        own = np.linalg.lstsq(basis, inner, rcond=None)[0] if frequency < 25 else np.zeros(2)
        return float(np.linalg.norm(own)) / 0.1, float(np.sqrt(2 * np.mean((inner - basis @ own) ** 2))) / 0.1

    for frequency in (1.0, 3.0, 5.0):
        gain, images = heard(frequency)
        assert 0.993 < gain < 1.001, frequency
        assert images < 0.01, frequency
    gain, images = heard(fps / 4 if fps < 61 else 15.0)
    assert 0.97 < gain < 1.0
    assert images < 0.02
    for frequency in np.arange(26.0, min(fps / 2, 60.0)):
        assert heard(frequency)[1] < 0.015, frequency


@pytest.mark.parametrize("key", ["rotvec", "translation"])
def test_a_chirp_is_heard_while_the_new_rate_can_hold_it_and_not_afterwards(key):
    def chirp(time):  # from 0 to 60 Hz in 6 s
        return 0.1 * np.sin(np.pi * 10 * time**2)[:, None] * [1.0, 0.0, 0.0]

    made = resample(motion_of(250.0, 6.0, **{key: chirp}), 0.02)
    signal = made.translation[:, 0] if key == "translation" else rotations.to_rotvec(made.rotations[:, ELBOW])[:, 0]
    time = 0.02 * np.arange(len(signal))
    slow, fast = time < 1.4, time > 2.65
    np.testing.assert_allclose(signal[slow], chirp(time[slow])[:, 0], atol=0.004)
    assert np.abs(signal[fast]).max() < 0.004


def test_accelerations_do_not_jump_at_the_frames_of_a_slower_recording():
    def wave(time):
        return 0.3 * np.sin(2 * np.pi * 2 * time)[:, None] * [1.0, 0.0, 0.0]

    made = resample(motion_of(24.0, 4.0, rotvec=wave, translation=wave), 0.002)
    truth = wave(0.002 * np.arange(made.num_frames))[:, 0]
    for signal in (made.translation[:, 0], rotations.to_rotvec(made.rotations[:, ELBOW])[:, 0]):
        acceleration, expected = (np.diff(x, n=2)[300:-300] / 0.002**2 for x in (signal, truth))
        assert np.abs(acceleration - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize(("fps", "dt"), [(30.0, 0.02), (60.0, 0.01), (50.0, 0.02)])
def test_a_rotation_at_constant_speed_is_kept_between_the_frames(fps, dt):
    axis = np.array([1.0, -2.0, 2.0])
    resampled = resample(motion_of(fps, 2.0, rotvec=lambda t: t[:, None] * axis), dt)
    time = dt * np.arange(resampled.num_frames)
    expected = Rotation.from_rotvec(time[:, None] * axis)
    found = Rotation.from_quat(resampled.rotations[:, ELBOW], scalar_first=True)
    assert (expected.inv() * found).magnitude().max() < 1e-6


def test_a_rotation_at_constant_speed_survives_the_low_pass():
    axis = np.array([1.0, -2.0, 2.0])
    resampled = resample(motion_of(120.0, 3.0, rotvec=lambda t: t[:, None] * axis), 0.02)
    time = 0.02 * np.arange(resampled.num_frames)
    expected = Rotation.from_rotvec(time[:, None] * axis)
    found = Rotation.from_quat(resampled.rotations[:, ELBOW], scalar_first=True)
    error = (expected.inv() * found).magnitude()
    assert error[20:-20].max() < 1e-4
    assert error.max() < 0.02  # at the ends the filter has to guess


def test_at_the_frames_of_a_slower_recording_rotations_are_the_recorded_ones():
    random = np.random.default_rng(0)
    local = np.tile(rotations.IDENTITY, (6, len(SMPL_JOINTS), 1))
    local[:, ELBOW] = rotations.from_rotvec(np.cumsum(random.normal(scale=0.4, size=(6, 3)), axis=0))
    resampled = resample(Motion("made", local, np.zeros((6, 3)), 25.0), 0.02)
    expected = Rotation.from_quat(local[:, ELBOW], scalar_first=True)
    found = Rotation.from_quat(resampled.rotations[::2, ELBOW], scalar_first=True)
    assert (expected.inv() * found).magnitude().max() < 1e-9


def test_sign_flips_of_quaternions_are_no_movement():
    made = motion_of(120.0, 2.0, rotvec=lambda t: np.sin(t)[:, None] * [0.5, 0.2, 0.0])
    flipped = made.rotations.copy()
    flipped[::3] *= -1
    other = resample(Motion("flipped", flipped, made.translation, made.fps), 0.02)
    found, expected = (
        Rotation.from_quat(m.rotations[:, ELBOW], scalar_first=True) for m in (other, resample(made, 0.02))
    )
    assert (expected.inv() * found).magnitude().max() < 1e-9


@pytest.mark.parametrize(
    ("fps", "frames", "dt", "expected"), [(120.0, 241, 0.02, 101), (60.0, 61, 0.02, 51), (30.0, 4, 0.02, 6)]
)
def test_the_clip_keeps_its_length_and_takes_the_new_rate(fps, frames, dt, expected):
    resampled = resample(motion_of(fps, (frames - 1) / fps), dt)
    assert resampled.num_frames == expected
    assert resampled.fps == pytest.approx(1 / dt)
    assert resampled.duration <= (frames - 1) / fps + 1e-9


@pytest.mark.parametrize("frames", [1, 2])
def test_a_clip_that_is_too_short_is_refused_by_name(frames):
    with pytest.raises(FileError, match=r"'made' lasts 0\.0\d* s: too short for frames every 0\.020 s"):
        resample(motion_of(120.0, (frames - 1) / 120.0), 0.02)
