"""Readers of tables and markers give a valid object or a FileError, whatever the bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musclewarp.errors import FileError
from musclewarp.motion import c3d
from musclewarp.motion.markers import Markers, read_trc
from musclewarp.motion.opensim import read_opensim
from musclewarp.motion.table import Table
from musclewarp.motion.text import read_csv

STO = b"Coordinates\nnRows=3\ninDegrees=yes\nendheader\ntime\tknee_angle_r\tx\n0\t1\t2\n.1\t3\t4\n.2\t5e1\tnan\n"
TRC = (
    b"PathFileType\t4\t(X/Y/Z)\tw.trc\nDataRate\tNumFrames\tNumMarkers\tUnits\n100\t2\t2\tmm\nFrame#\tTime\tA\t\t\tB\t\t\n"
    b"\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n1\t0\t1\t2\t3\t4\t5\t6\n2\t.01\t1\t2\t3\t\t\t\n"
)
CSV = b"subject,point,SO\nA,1,0.5\nA,2,0.6\n"
READERS = {
    "sto": (read_opensim, STO),
    "trc": (read_trc, TRC),
    "csv": (lambda path: read_csv(path, ["point", "SO"], text=["subject"]), CSV),
}
quick = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
slow = settings(quick, max_examples=8)  # each example runs a process


def or_file_error(reader, path):
    """What `reader` gives, or None after a FileError that names the file."""
    try:
        return reader(path)
    except FileError as error:
        message = str(error)
    assert message.startswith(str(path))
    return None


def read(folder, kind, data):
    path = folder / f"any.{kind}"
    path.write_bytes(data)
    reader, _ = READERS[kind]
    content = or_file_error(reader, path)
    if content is None:
        return
    if isinstance(content, Table):
        assert np.isfinite(content.time).all()
        assert not np.isinf(content.values).any()
    elif isinstance(content, Markers):
        assert not np.isinf(content.positions).any()
    else:
        assert np.isfinite(content["SO"]).all()


@given(st.sampled_from(sorted(READERS)), st.integers(0, 2**16), st.binary(max_size=6), st.integers(0, 12))
@quick
def test_a_damaged_text_gives_an_object_or_a_file_error(tmp_path, kind, place, patch, lost):
    data = READERS[kind][1]
    place %= len(data)
    read(tmp_path, kind, data[:place] + patch + data[place + lost :])


@given(
    st.sampled_from(sorted(READERS)), st.text(alphabet="\t\n ,.=-+0123456789eEinfaNtimA#", max_size=80), st.booleans()
)
@quick
def test_invented_rows_give_an_object_or_a_file_error(tmp_path, kind, text, after):
    data = READERS[kind][1]
    read(tmp_path, kind, data + text.encode() if after else text.encode())


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=6))
@quick
def test_every_finite_table_comes_back(tmp_path, rows):
    text = "x\nendheader\ntime\ta\tb\tc\n" + "".join(
        f"{time}\t" + "\t".join(map(repr, row)) + "\n" for time, row in enumerate(rows)
    )
    path = tmp_path / "any.sto"
    path.write_text(text)
    assert read_opensim(path).values.tolist() == rows


@given(st.integers(0, 2**16), st.binary(min_size=1, max_size=4), st.booleans())
@slow
def test_a_damaged_c3d_gives_a_recording_or_a_file_error(tmp_path, c3d_bytes, place, patch, cut):
    place %= len(c3d_bytes)
    data = c3d_bytes[:place] if cut else c3d_bytes[:place] + patch + c3d_bytes[place + len(patch) :]
    path = tmp_path / "any.c3d"
    path.write_bytes(data)
    assert isinstance(or_file_error(c3d.read_c3d, path), c3d.C3D | None)


def test_a_worker_that_dies_or_never_ends_is_a_file_error(tmp_path, c3d_file, monkeypatch):
    worker = tmp_path / "worker.py"
    monkeypatch.setattr(c3d.c3d_worker, "__file__", str(worker))
    worker.write_text("import os; os.kill(os.getpid(), 11)")
    with pytest.raises(FileError, match="signal 11"):
        c3d.read_c3d(c3d_file)
    worker.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(c3d, "TIMEOUT", 0.5)
    with pytest.raises(FileError, match="did not end within"):
        c3d.read_c3d(c3d_file)
