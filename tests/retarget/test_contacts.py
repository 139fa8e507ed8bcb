"""Contact labels, against the definition taken frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.errors import ConfigError, FileError
from musclewarp.motion import rotations
from musclewarp.motion.motion import SMPL_JOINTS, Motion
from musclewarp.retarget.contacts import ContactConfig, find_contacts, floor_heights, floor_slope

FPS = 50.0
JOINT = {name: index for index, name in enumerate(SMPL_JOINTS)}


def in_the_air(frames: int) -> np.ndarray:
    """Joints `(T, 24, 3)` that rush along at 5 m/s: no contact anywhere."""
    positions = np.zeros((frames, 24, 3))
    positions[..., 0] = (5.0 / FPS * np.arange(frames))[:, None]
    return positions


def walk(seed: int, frames: int = 120) -> np.ndarray:
    """Feet that wander, now and then low and slow."""
    random = np.random.default_rng(seed)
    positions = in_the_air(frames)
    for side in ("left", "right"):
        for joint in ("foot", "ankle"):
            steps = random.normal(scale=0.006, size=(frames, 3)) * random.uniform(0, 2, size=(frames, 1))
            positions[:, JOINT[f"{side}_{joint}"]] = np.cumsum(steps, axis=0)
    return positions


def label(positions: np.ndarray, joint: str, config: ContactConfig) -> np.ndarray:
    """The definition, one frame after the other."""
    point = positions[:, JOINT[joint]]
    level = np.percentile(point[:, 2], config.percentile)
    enter = (config.height, config.speed)
    leave = tuple(x if y is None else y for x, y in zip(enter, (config.release_height, config.release_speed)))
    contact, now = [], False
    for t in range(len(point)):
        before, after = max(t - 1, 0), min(t + 1, len(point) - 1)
        speed = np.linalg.norm(point[after] - point[before]) / ((after - before) / FPS)
        height, fast = leave if now else enter
        now = bool(point[t, 2] - level < height and speed < fast)
        contact.append(now)
    return np.array(contact)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_labels_are_those_of_the_definition(seed, hysteresis):
    config = ContactConfig(release_height=0.05, release_speed=0.8) if hysteresis else ContactConfig()
    positions = walk(seed)
    contacts = find_contacts(positions, FPS, config)
    for column, side in enumerate(("left", "right")):
        np.testing.assert_array_equal(contacts.toe[:, column], label(positions, f"{side}_foot", config))
        np.testing.assert_array_equal(contacts.heel[:, column], label(positions, f"{side}_ankle", config))
    np.testing.assert_array_equal(contacts.foot, contacts.toe | contacts.heel)


def test_the_published_definition_is_the_default():
    config = ContactConfig()
    assert (config.height, config.percentile, config.speed) == (0.030, 2.0, 0.40)
    assert config.release_height is config.release_speed is None
    assert config.debounce == 0


def standing_in(frames: int, *spans: tuple[int, int]) -> np.ndarray:
    """The left ball of the foot is where speed and height allow contact in the given spans of frames only."""
    positions = in_the_air(frames)
    high = np.ones(frames, bool)
    for start, end in spans:
        high[start:end] = False
    positions[:, JOINT["left_foot"]] = 0.0
    positions[:, JOINT["left_foot"], 2] = np.where(high, 0.031, 0.0)  # slow enough at 50 Hz: 0.031 / 0.04 s
    return positions


@pytest.mark.parametrize("frames", [3, 4])
def test_short_gaps_are_closed_and_short_contacts_dropped_where_they_are(frames):
    positions = standing_in(80, (10, 30), (30 + frames - 1, 50), (60, 60 + frames - 1))
    config = ContactConfig(speed=2.0, debounce=frames / FPS)
    found = np.flatnonzero(find_contacts(positions, FPS, config).toe[:, 0])
    assert found.tolist() == list(range(10, 50))
    longer = standing_in(80, (10, 30), (30 + frames, 50), (60, 60 + frames))
    kept = find_contacts(longer, FPS, config).toe[:, 0]
    np.testing.assert_array_equal(kept, find_contacts(longer, FPS, ContactConfig(speed=2.0)).toe[:, 0])


def test_a_contact_at_either_end_of_the_clip_may_go_on_beyond_it():
    positions = standing_in(40, (0, 2), (38, 40))
    config = ContactConfig(speed=2.0, debounce=0.1)
    np.testing.assert_array_equal(np.flatnonzero(find_contacts(positions, FPS, config).toe[:, 0]), [0, 1, 38, 39])


def walkway(slope: tuple[float, float], lift: float = 0.0) -> np.ndarray:
    """Six steps of 0.6 m along x, and one foot raised by `lift` all the while, on a tilted floor at 0.7 m."""
    frames, random = 480, np.random.default_rng(2)
    positions = in_the_air(frames)
    swing = np.clip(np.arange(frames) % 80 / 20.0 - 1.0, 0.0, 1.0)  # the last three quarters of each 1.6 s they stand
    step = 0.6 * (np.arange(frames) // 80 + swing)
    for foot, y, high in (("left_foot", 0.1, 0.0), ("right_foot", -0.1, lift)):
        place = np.stack((step, np.full(frames, y), 0.7 + high + 0.1 * np.sin(np.pi * swing)), axis=1)
        place[:, 2] += place[:, :2] @ slope + random.normal(scale=1e-4, size=frames)
        positions[:, JOINT[foot]] = place
    return positions


def test_a_floor_that_a_recording_tilts_is_found():
    positions, places = walkway((0.02, 0.0)), np.array([[0.0, 0.0], [3.0, 0.0]])
    heights, higher = (floor_heights(positions + np.array([0.0, 0.0, up]), FPS, places) for up in (0.0, 3.0))
    np.testing.assert_allclose(heights, 0.7 + 0.02 * places[:, 0], atol=0.006)
    np.testing.assert_allclose(higher, heights + 3.0, atol=1e-5)


def test_a_ramp_is_told_and_not_all_of_it_is_levelled(recwarn):
    places = np.array([[0.0, 0.0], [3.0, 0.0]])
    floor_heights(walkway((0.03, 0.0)), FPS, places)
    assert not recwarn.list
    assert floor_slope(walkway((0.08, 0.0)), FPS) > np.radians(3.0)
    with pytest.warns(UserWarning, match="the feet rise at [45] degrees, as on stairs or a ramp"):
        heights = floor_heights(walkway((0.08, 0.0)), FPS, places)
    assert np.diff(heights)[0] == pytest.approx(3 * np.tan(np.radians(3.0)), abs=1e-4)  # a little of it sideways


@pytest.mark.parametrize("slope", [0.2, 0.6])
def test_a_way_that_is_too_steep_for_a_floor_is_told(slope):
    with pytest.warns(UserWarning, match="as on stairs or a ramp"):
        floor_heights(walkway((slope, 0.0)), FPS, np.zeros((1, 2)))
    assert floor_slope(walkway((slope, 0.0)), FPS) == pytest.approx(np.arctan(slope), rel=0.02)


@pytest.mark.parametrize(("level", "steps"), [(0, 3), (0, 8), (3, 4)])
def test_a_person_who_climbs_stairs_is_told_of(person, level, steps):
    """Steps of 17 by 29 cm, after some on the flat, both feet together, each for half a second."""
    rise = np.concatenate((np.zeros(level), np.arange(steps)))
    places = np.stack((0.29 * np.arange(level + steps), np.zeros(level + steps), 0.17 * rise), axis=1)
    moved = np.linspace(places[:-1], places[1:], 12, endpoint=False).swapaxes(0, 1)
    held = np.repeat(places[:, None], 30, axis=1)
    way = np.concatenate([*(part for pair in zip(held, moved, strict=False) for part in pair), held[-1]])
    turns = np.tile(rotations.IDENTITY, (len(way), 24, 1))
    turns[:, 0] = rotations.from_rotvec([np.pi / 2, 0.0, 0.0])
    positions = person.joints(Motion("climber", turns, way, 60.0)).positions
    with pytest.warns(UserWarning, match=r"the feet rise at \d\d degrees, as on stairs"):
        floor_heights(positions, 60.0, np.zeros((1, 2)))


def test_who_lies_down_climbs_nothing(recwarn):
    """The balls of both feet are 15 cm above the floor after they stood on it, 0.8 m away."""
    positions = in_the_air(200)
    for foot, y in (("left_foot", 0.1), ("right_foot", -0.1)):
        positions[:, JOINT[foot]] = [0.0, y, 0.0]
        positions[150:, JOINT[foot]] = [0.8, y, 0.15]
    assert floor_slope(positions, FPS) < np.radians(3.0)
    floor_heights(positions, FPS, np.zeros((1, 2)))
    assert not recwarn.list


def test_a_raised_foot_says_nothing_of_the_floor():
    heights = floor_heights(walkway((0.0, 0.0), lift=0.3), FPS, np.array([[0.0, 0.0], [1.5, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(heights, 0.7, atol=0.003)


def test_a_person_who_stays_says_nothing_of_a_tilt():
    positions = in_the_air(100)
    for foot, x, z in (("left_foot", 0.05, 0.012), ("right_foot", -0.05, 0.0)):
        positions[:, JOINT[foot]] = [x, 0.0, z]
    heights = floor_heights(positions, FPS, np.array([[2.0, 0.0], [-2.0, 2.0]]))
    np.testing.assert_allclose(heights, 0.006, atol=0.007)


def test_hands_stand_where_the_feet_do():
    positions = standing_in(60, (0, 60))
    positions[:, JOINT["left_hand"]] = [0.0, 0.0, 0.0]
    positions[30:, JOINT["left_hand"], 2] = 0.1
    positions[:, JOINT["right_hand"]] = [0.0, 0.0, 0.05]  # the lowest that it ever is, and no floor
    contacts = find_contacts(positions, FPS, ContactConfig(speed=3.0))
    assert np.flatnonzero(contacts.hand[:, 0]).tolist() == list(range(30))
    assert not contacts.hand[:, 1].any()
    np.testing.assert_array_equal(contacts.limbs, np.concatenate((contacts.foot, contacts.hand), axis=1))


def test_labels_do_not_depend_on_the_place_or_height_of_the_recording():
    positions = walk(3)
    here, there = find_contacts(positions, FPS), find_contacts(positions + np.array([4.0, -2.0, 1.5]), FPS)
    np.testing.assert_array_equal(here.limbs, there.limbs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": -0.1}, r"contacts\.height is -0\.1"),
        ({"release_height": 0.01}, r"contacts\.release_height is 0\.01; choose a number of at least 0\.03"),
        ({"release_speed": np.nan}, r"contacts\.release_speed is nan"),
        ({"percentile": 101}, r"contacts\.percentile is 101"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        ContactConfig(**options)


def test_one_frame_has_no_speed():
    with pytest.raises(FileError, match="at least two"):
        find_contacts(np.zeros((1, 24, 3)), FPS)
