"""A motion, kinematics by scipy, and files as others' programs write them: chumpy's pickles, made-up body models."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import ezc3d
import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.transform import Rotation

from musclewarp.motion import rotations, stand_in
from musclewarp.motion.motion import SMPL_PARENTS, Motion

OLD_NAMES = {
    b"numpy._core.multiarray": b"numpy.core.multiarray",
    b"scipy.sparse._csc": b"scipy.sparse.csc",
    b"scipy.sparse._csr": b"scipy.sparse.csr",
}


@pytest.fixture
def chumpy(monkeypatch):
    """Classes that pickle as chumpy's do; chumpy itself does not run on today's numpy."""

    def module(name, class_name):
        made = types.ModuleType(name)
        made.__dict__[class_name] = type(class_name, (), {"__module__": name})
        monkeypatch.setitem(sys.modules, name, made)
        return made.__dict__[class_name]

    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    array_class, select_class = module("chumpy.ch", "Ch"), module("chumpy.reordering", "Select")

    def wrap(array, select=False):
        wrapped = array_class()
        wrapped.x, wrapped._dirty_vars, wrapped._itr = array.ravel() if select else array, {"x"}, None
        if not select:
            return wrapped
        selected = select_class()
        selected.a, selected.idxs, selected.preferred_shape = wrapped, np.arange(array.size), array.shape
        return selected

    return wrap


@pytest.fixture
def write_old_pickle(tmp_path):
    """Write a pickle that names what numpy 1 and old scipy named."""

    def write(content, name="old.pkl", protocol=2):
        data = pickle.dumps(content, protocol=protocol)
        if protocol < 3:  # from 4 on names carry their length
            for new, old in OLD_NAMES.items():
                data = data.replace(new, old)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def model_arrays():
    """The arrays of a made-up body of any kind: the stand-in's joints, and random fingers, face and flesh."""

    def make(kind="smpl", shapes=10):
        joints, vertices = {"smpl": (24, 6890), "smplh": (52, 6890), "smplx": (55, 10475)}[kind]
        own = stand_in.model_arrays("male")
        count = len(own["v_template"])
        parents = np.concatenate([SMPL_PARENTS[:22], np.full(joints - 22, 20)])
        if kind == "smpl":
            parents[:] = SMPL_PARENTS
        random = np.random.default_rng(3)
        regressor = np.zeros((joints, vertices))
        regressor[:22, :count] = own["J_regressor"][:22]
        for joint in range(22, joints):
            regressor[joint, random.integers(count, vertices, size=8)] += 1 / 8
        fill = vertices - count
        shapedirs = np.zeros((vertices, 3, shapes))
        shapedirs[:count] = np.resize(own["shapedirs"][..., :10], (count, 3, shapes))
        kintree = np.array([parents, np.arange(joints)]).astype(np.uint32)  # SMPL's root has parent 2^32 - 1
        return {
            "v_template": np.concatenate([own["v_template"], random.normal(size=(fill, 3))]),
            "shapedirs": shapedirs,
            "posedirs": np.zeros((vertices, 3, 9 * (joints - 1)), dtype=np.float16),
            "J_regressor": regressor,
            "weights": np.eye(joints)[random.integers(joints, size=vertices)],
            "kintree_table": kintree,
            "f": np.zeros((4, 3), dtype=np.uint32),
        }

    return make


@pytest.fixture
def write_smpl(chumpy, write_old_pickle, model_arrays):
    """Write a body as SMPL's own pickles are: chumpy, Select, a sparse regressor, and things nobody needs."""

    def write(name, **changes):
        arrays = model_arrays("smpl") | changes
        content = arrays | {
            "shapedirs": chumpy(arrays["shapedirs"], select=True),
            "posedirs": chumpy(arrays["posedirs"]),
            "J_regressor": sparse.csc_matrix(arrays["J_regressor"]),
            "bs_type": "lrotmin",
            "bs_style": "lbs",
            "J_regressor_prior": sparse.csr_matrix(arrays["J_regressor"]),
            "scalar": np.float64(3.0),
        }
        return arrays, write_old_pickle(content, name)

    return write


@pytest.fixture
def sprung(tmp_path) -> Path:
    """A path that exists once code hidden in a file has run."""
    return tmp_path / "sprung"


@pytest.fixture
def random_motion():
    """Make a motion that is anything but human."""

    def random_motion(frames=7, **changes):
        random = np.random.default_rng(5)
        local = rotations.from_rotvec(random.normal(scale=0.7, size=(frames, 24, 3)))
        return Motion("random", local, random.normal(size=(frames, 3)), 60.0, **changes)

    return random_motion


@pytest.fixture
def independent_kinematics():
    """Joint positions and rotation matrices from rest joints and a motion, without smplx and our own quaternions."""

    def independent_kinematics(rest, motion):
        """Positions and rotation matrices by scipy, joint by joint; the root turns about the rest pelvis."""
        local = Rotation.from_quat(motion.rotations.reshape(-1, 4), scalar_first=True).as_matrix().reshape(-1, 24, 3, 3)
        positions, matrices = np.zeros((motion.num_frames, 24, 3)), np.zeros_like(local)
        for frame in range(motion.num_frames):
            for joint, parent in enumerate(SMPL_PARENTS):
                if parent < 0:
                    positions[frame, joint] = rest[joint] + motion.translation[frame]
                    matrices[frame, joint] = local[frame, joint]
                else:
                    offset = matrices[frame, parent] @ (rest[joint] - rest[parent])
                    positions[frame, joint] = positions[frame, parent] + offset
                    matrices[frame, joint] = matrices[frame, parent] @ local[frame, joint]
        return positions, matrices

    return independent_kinematics


@pytest.fixture
def write_lines(tmp_path):
    """Write lines of text, and return the path."""

    def write(name, lines, end="\n"):
        path = tmp_path / name
        path.write_bytes((end.join(lines) + end).encode("latin-1"))
        return path

    return write


@pytest.fixture(scope="session")
def c3d_bytes(tmp_path_factory) -> bytes:
    """A recording by ezc3d: two markers at 100 Hz, one of them hidden once, a plate and an EMG channel at 200 Hz."""
    file = ezc3d.c3d()
    parameters = file["parameters"]
    parameters["POINT"]["RATE"]["value"] = [100]
    parameters["POINT"]["UNITS"]["value"] = ["mm"]
    parameters["POINT"]["LABELS"]["value"] = ("RKNE", "LKNE")
    points = np.ones((4, 2, 10))
    points[:3, 0] = 10.0 * np.arange(30).reshape(3, 10)
    points[:3, 1, 4] = np.nan
    file["data"]["points"] = points
    parameters["ANALOG"]["RATE"]["value"] = [200]
    parameters["ANALOG"]["LABELS"]["value"] = ("Fx", "Fy", "Fz", "Mx", "My", "Mz", "EMG soleus")
    parameters["ANALOG"]["UNITS"]["value"] = ("N", "N", "N", "Nmm", "Nmm", "Nmm", "mV")
    analogs = np.zeros((1, 7, 20))
    analogs[0, 2], analogs[0, 3], analogs[0, 6] = -500.0, 5000.0, np.linspace(0.0, 1.0, 20)
    file["data"]["analogs"] = analogs
    file.add_parameter("FORCE_PLATFORM", "USED", 1)
    file.add_parameter("FORCE_PLATFORM", "TYPE", 2)
    channel = ezc3d.ezc3d.Parameter("CHANNEL", "")
    channel.set(ezc3d.ezc3d.VecInt([1, 2, 3, 4, 5, 6]), ezc3d.ezc3d.VecUInt([6, 1]))
    parameters.add_parameter("FORCE_PLATFORM", channel)
    corners = np.array([[0, 400, 400, 0], [0, 0, 600, 600], [0, 0, 0, 0.0]]).reshape(3, 4, 1)
    file.add_parameter("FORCE_PLATFORM", "CORNERS", corners)
    file.add_parameter("FORCE_PLATFORM", "ORIGIN", np.zeros((3, 1)))
    file.add_parameter("FORCE_PLATFORM", "CAL_MATRIX", np.zeros((6, 6, 1)))
    file.add_event([0.0, 0.05], "Right", "Foot Strike")
    file.add_event([0.0, 0.02], "Left", "Foot Off")
    path = tmp_path_factory.mktemp("c3d") / "good.c3d"
    file.write(str(path))
    return path.read_bytes()


@pytest.fixture
def c3d_file(tmp_path, c3d_bytes) -> Path:
    path = tmp_path / "good.c3d"
    path.write_bytes(c3d_bytes)
    return path
