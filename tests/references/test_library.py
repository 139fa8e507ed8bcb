"""The library: which row is asked for, and that the rows hold what the references say."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from musclewarp.errors import FileError
from musclewarp.references import make_reference
from musclewarp.references.library import ReferenceLibrary, find_references, load_library


@pytest.fixture(scope="module", params=["arms", "body"])
def case(request, movement):
    """A model, three references of different lengths, and their library."""
    model = request.getfixturevalue(request.param)
    dt = model.physics.control_dt
    references = []
    for seed, frames in enumerate((5, 9, 2)):
        qpos = movement(model, frames, dt, seed)
        sites = make_reference(model, qpos, dt, "own").site_positions
        references.append(make_reference(model, qpos, dt, f"clip{seed}", target_positions=sites + 0.01 * (seed + 1)))
    return model, references, ReferenceLibrary(references, model)


def test_the_goal_at_every_frame_is_the_row_of_the_reference(case):
    model, references, library = case
    m, data = model.mj_model, mujoco.MjData(model.mj_model)
    # MuJoCo's documentation of muscles: lengthrange in metres is range in optimal lengths
    low, high = m.actuator_gainprm[:, :2].T
    optimal = np.diff(m.actuator_lengthrange, axis=1)[:, 0] / (high - low)
    slack = m.actuator_lengthrange[:, 0] - low * optimal
    for clip, reference in enumerate(references):
        for frame in range(reference.num_frames):
            goal = library.goal(torch.tensor([clip]), torch.tensor([frame]))[0]
            data.qpos[:], data.qvel[:] = reference.qpos[frame], reference.qvel[frame]
            mujoco.mj_forward(model.mj_model, data)
            sensor = {key: data.sensordata[model.sensor_slice(f"{model.sites[0]}_{key}")] for key in ("quat", "angvel")}
            expected = {
                "joint_pos": reference.qpos[frame, model.joint_qpos],
                "joint_vel": reference.qvel[frame, model.joint_dofs],
                "root_pos": data.site_xpos[model.site_ids[0]],
                "root_linvel": data.sensordata[model.sensor_slice(f"{model.sites[0]}_linvel")],
                "root_angvel": sensor["angvel"],
                "site_pos": data.site_xpos[model.site_ids],
                "site_vel": [data.sensordata[model.sensor_slice(f"{site}_linvel")] for site in model.sites],
                "recorded_pos": reference.target_positions[frame],
                "fibre_length": (data.actuator_length - slack) / optimal,
                "fibre_velocity": data.actuator_velocity / optimal,
                "activation": np.zeros(model.mj_model.nu),
            }
            for key, value in expected.items():
                where = f"{key} of {clip}, {frame}"
                np.testing.assert_allclose(getattr(goal, key), value, rtol=1e-5, atol=3e-6, err_msg=where)
            ours, theirs = (Rotation.from_quat(q, scalar_first=True) for q in (goal.root_quat.numpy(), sensor["quat"]))
            assert (ours.inv() * theirs).magnitude() < 1e-6


def test_goals_are_float32_and_resets_float64(case):
    _, references, library = case
    goal = library.goal(torch.tensor([0]), torch.tensor([0]))
    assert {value.dtype for value in dict(goal.items()).values()} == {torch.float32}
    row = library.index(torch.tensor([1]), torch.tensor([3]))
    np.testing.assert_array_equal(library.qpos[row][0], references[1].qpos[3])
    np.testing.assert_array_equal(library.qvel[row][0], references[1].qvel[3])


def test_activations_are_those_of_the_references_that_have_them(arms, arms_reference):
    activations = np.random.default_rng(0).uniform(size=(12, arms.mj_model.nu))
    known = replace(arms_reference, activations=activations, name="known")
    library = ReferenceLibrary([arms_reference, known], arms)
    assert library.has_activation.tolist() == 12 * [False] + 12 * [True]
    goals = library.goal(torch.tensor([0, 1]), torch.tensor([4, 4]))
    assert (goals.activation[0] == 0).all()
    np.testing.assert_array_equal(goals.activation[1], activations[4].astype(np.float32))


def test_past_the_end_the_last_frame_of_the_same_clip_holds(case):
    _, references, library = case
    for clip, reference in enumerate(references):
        last = library.goal(torch.tensor([clip]), torch.tensor([reference.num_frames - 1]))
        for frame in (reference.num_frames, reference.num_frames + 100):
            beyond = library.goal(torch.tensor([clip]), torch.tensor([frame]))
            for (name, value), (_, expected) in zip(beyond.items(), last.items(), strict=True):
                assert torch.equal(value, expected), name


def test_goals_of_many_worlds_and_instants_keep_their_places(case):
    _, _, library = case
    clip = torch.tensor([[1, 1, 1], [0, 0, 0]])
    frame = torch.tensor([[2, 4, 50], [0, 1, 3]])
    goals = library.goal(clip, frame)
    assert {value.shape[:2] for _, value in goals.items()} == {clip.shape}
    for i in range(2):
        for k in range(3):
            one = library.goal(clip[i, k][None], frame[i, k][None])[0]
            assert torch.equal(goals.site_pos[i, k], one.site_pos)


@pytest.mark.parametrize("name", ["arms", "body"])
def test_site_velocities_are_the_differences_of_site_positions(name, request, movement):
    model = request.getfixturevalue(name)
    dt = model.physics.control_dt
    errors = []
    for halvings in (1, 2):  # the same movement, sampled more finely
        step, middle = dt / halvings, 4 * halvings
        reference = make_reference(model, movement(model, 2 * middle + 1, step), step, "fine")
        library = ReferenceLibrary([replace(reference, dt=dt)], model)  # it takes one rate; velocities stay as they are
        goal = library.goal(torch.tensor([0]), torch.tensor([middle]))
        speed = (reference.site_positions[middle + 1] - reference.site_positions[middle - 1]) / (2 * step)
        errors.append(np.abs(goal.site_vel[0].numpy() - speed).max())
    assert errors[1] < 0.01
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)  # second order


def test_names_lengths_and_number_of_clips(case):
    _, _, library = case
    assert library.names == ("clip0", "clip1", "clip2")
    assert library.lengths.tolist() == [5, 9, 2]
    assert library.num_clips == 3


def test_no_references_tell_how_to_make_some(arms):
    with pytest.raises(FileError, match="musclewarp retarget"):
        ReferenceLibrary([], arms)


def test_two_clips_of_one_name_are_refused_by_name(arms, arms_reference):
    with pytest.raises(FileError, match=r"called wave; rename"):
        ReferenceLibrary([arms_reference, replace(arms_reference)], arms)


def test_another_rate_is_refused_with_the_remedy(arms, arms_reference):
    wrong = replace(arms_reference, dt=0.01)
    with pytest.raises(FileError, match=rf"'wave' has a frame every 0.01 s.*--dt {arms.physics.control_dt:g}"):
        ReferenceLibrary([wrong], arms)


def test_a_reference_of_another_model_is_refused(arms, body_reference):
    with pytest.raises(FileError, match=r"'walk' is for model 'myofullbody', not 'bimanual'"):
        ReferenceLibrary([body_reference], arms)


def test_files_and_folders_are_found_sorted_and_nothing_else(arms_reference, tmp_path):
    folder = tmp_path / "refs"
    for name in ("b", "a"):
        replace(arms_reference, name=name).save(folder / f"{name}.ref.safetensors")
    (folder / "a.quality.json").write_text("{}")
    arms_reference.save(folder / "deeper" / "c.ref.safetensors")
    lone = arms_reference.save(tmp_path / "lone.ref.safetensors")
    expected = ["a.ref.safetensors", "b.ref.safetensors", "deeper/c.ref.safetensors"]
    assert [path.relative_to(folder).as_posix() for path in find_references(folder)] == expected
    assert find_references([lone, str(folder)]) == [lone, *find_references(str(folder))]


def test_a_missing_path_is_named_with_the_remedy(tmp_path):
    with pytest.raises(FileError, match=r"nowhere: no such file or folder.*musclewarp retarget"):
        find_references([tmp_path / "nowhere"])


def test_an_empty_folder_is_named_with_the_remedy(tmp_path):
    with pytest.raises(FileError, match=r"no files ending in \.ref\.safetensors.*musclewarp retarget") as caught:
        find_references(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_library_is_loaded_from_a_folder(arms, arms_reference, tmp_path):
    for name in ("b", "a"):
        replace(arms_reference, name=name).save(tmp_path / f"{name}.ref.safetensors")
    library = load_library(str(tmp_path), arms)
    assert library.names == ("a", "b")
    np.testing.assert_array_equal(library.qpos[:12], arms_reference.qpos)
