from __future__ import annotations

import numpy as np
import pytest

from musclewarp.errors import FileError
from musclewarp.motion import stand_in
from musclewarp.motion.body import load_body

FLOAT32 = 5e-6  # m: smplx rounds the template, and the many terms of its regressor, to float32


@pytest.mark.parametrize("name", ["SMPL_MALE.pkl", "basicModel_m_lbs_10_207_0_v1.0.0.pkl", "models/smpl_male.pkl"])
def test_licensed_smpl_pickle_runs_through_smplx(write_smpl, tmp_path, name, random_motion, independent_kinematics):
    arrays, path = write_smpl(f"bodies/smpl/{name}")
    (path.parent / "SMPL_FEMALE.pkl").write_bytes(b"not this one")
    found = load_body("male", root=tmp_path)
    assert (found.name, found.file, found.shape_space) == ("smpl", path, "smpl")
    motion = random_motion(betas=np.linspace(-1, 1, 16))
    regressor = arrays["J_regressor"]
    rest = regressor @ (arrays["v_template"] + arrays["shapedirs"] @ motion.betas[:10])
    positions, _ = independent_kinematics(rest, motion)
    np.testing.assert_allclose(found.joints(motion).positions, positions, atol=FLOAT32)
    assert load_body("neutral", root=tmp_path).name == "stand-in"


@pytest.mark.parametrize(("kind", "hands", "shapes"), [("smplh", (25, 40), 16), ("smplx", (28, 43), 20)])
def test_bodies_with_fingers_have_their_hands_at_the_middle_finger(
    tmp_path, model_arrays, kind, hands, shapes, random_motion, independent_kinematics
):
    arrays = model_arrays(kind, shapes)
    path = tmp_path / "bodies" / kind / "female" / "model.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)
    found = load_body("female", root=tmp_path)
    assert (found.name, found.file) == (kind, path)
    motion = random_motion(2, betas=np.ones(16), shape_space=found.shape_space)
    used = 10 if kind == "smplx" else 16  # the second ten of SMPL-X are facial expression
    rest = arrays["J_regressor"] @ (arrays["v_template"] + arrays["shapedirs"][..., :used].sum(axis=-1))
    # all fingers of the made-up body hang on the left wrist, and are still
    chain = np.concatenate([rest[:22], rest[list(hands)]])
    positions, matrices = independent_kinematics(chain, motion)
    wrist = positions[:, 20] + np.einsum("tij,j->ti", matrices[:, 20], rest[hands[1]] - rest[20])
    found_positions = found.joints(motion).positions
    np.testing.assert_allclose(found_positions[:, :23], positions[:, :23], atol=FLOAT32)
    np.testing.assert_allclose(found_positions[:, 23], wrist, atol=FLOAT32)


def test_a_body_of_too_few_joints_or_vertices_for_its_kind_is_refused(tmp_path, model_arrays):
    folder = tmp_path / "bodies" / "smplh"
    folder.mkdir(parents=True)
    np.savez(folder / "SMPLH_MALE.npz", **model_arrays("smpl", 10))
    with pytest.raises(FileError, match="has 24 joints"):
        load_body("male", root=tmp_path)
    np.savez(folder / "SMPLH_MALE.npz", **stand_in.model_arrays("male"))
    with pytest.raises(FileError, match="has"):
        load_body("male", root=tmp_path)
