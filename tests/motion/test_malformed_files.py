"""Thirty-five ways to break a recording: each is one clear error, with the file and, in text files, the line."""

from __future__ import annotations

import pytest

from musclewarp.errors import FileError
from musclewarp.motion.c3d import read_c3d
from musclewarp.motion.markers import read_trc
from musclewarp.motion.opensim import read_opensim
from musclewarp.motion.text import read_csv

STO = [
    "Coordinates", "nRows=3", "nColumns=3", "inDegrees=no", "endheader",
    "time\tknee_angle_r\tankle_angle_r", "0.0\t0.1\t0.2", "0.1\t0.3\t0.4", "0.2\t0.5\t0.6",
]  # fmt: skip
TRC = [
    "PathFileType\t4\t(X/Y/Z)\twalk.trc", "DataRate\tNumFrames\tNumMarkers\tUnits", "100\t2\t2\tmm",
    "Frame#\tTime\tA\t\t\tB\t\t", "\t\tX1\tY1\tZ1\tX2\tY2\tZ2",
    "1\t0.00\t1\t2\t3\t4\t5\t6", "2\t0.01\t1\t2\t3\t4\t5\t6",
]  # fmt: skip
CSV = ["subject,point,SO", "A,1,0.5", "A,2,0.6"]


def edited(lines, line=None, new=None, keep=None):
    """`lines` with line number `line` replaced (removed if `new` is None), or the first `keep` only."""
    if line is None:
        return lines[:keep]
    return [*lines[: line - 1], *([] if new is None else [new]), *lines[line:]]


STO_CASES = [
    ([], r": empty"),
    (edited(STO, 5), r"no line 'endheader'"),
    (edited(STO, keep=5), r":5: nothing follows 'endheader'"),
    (edited(STO, keep=8), r":2: the header tells 3 rows, the file has 2: truncated"),
    (edited(STO, 9, "0.2\t0.5"), r":9: 2 columns, expected 3; the row ends before 'ankle_angle_r'"),
    (edited(STO, 8, "0.1\t0.3\t0.4\t9"), r":8: 4 columns, expected 3"),
    (edited(STO, 8, "0.1\tabc\t0.4"), r":8: column 2 \('knee_angle_r'\) is 'abc', expected a finite number"),
    (edited(STO, 8, "0.1\t0.3\tinf"), r":8: column 3 \('ankle_angle_r'\) is 'inf'"),
    (edited(STO, 8, "0.1\t1e999\t0.4"), r":8: column 2 \('knee_angle_r'\) is '1e999'"),
    (edited(STO, 8, "0.0\t0.3\t0.4"), r":8: column 'time' is 0 after 0 s"),
    (edited(STO, 6, "knee_angle_r\ttime\tankle_angle_r"), r":6: the first column is 'knee_angle_r', expected 'time'"),
    (edited(STO, 6, "time\tknee_angle_r\tknee_angle_r"), r":6: columns 2 and 3 are both named 'knee_angle_r'"),
    (edited(STO, 4, "inDegrees=perhaps"), r":4: inDegrees is 'perhaps', expected yes or no"),
    (edited(STO, 4, "Angles are in degrees.\ninDegrees=no"), r":5: the header says both degrees and radians"),
    (edited(STO, 2, "nRows=many"), r":2: 'nrows' is 'many', expected a count"),
    (edited(STO, 2, "nRows=3\ndatarows 4"), r":3: 4 rows, but 3 in line 2"),
    (edited(STO, 1, "DataType=Vec3"), r":1: DataType is 'Vec3', only tables of double"),
    (edited(STO, 8, "0.1\t0.3\0\t0.4"), r":8: not text"),
]
TRC_CASES = [
    (edited(TRC, 1, "frame,x,y"), r":1: starts with 'frame,x,y', expected 'PathFileType'"),
    (edited(TRC, keep=4), r"ends after line 5, within its header: truncated"),
    (edited(TRC, 3, "100\t2\t2"), r":3: 3 values for the 4 names of line 2"),
    (edited(TRC, 3, "100\t2\t2\tinches"), r":3: Units is 'inches', expected one of mm, cm, m"),
    (edited(TRC, 3, "0\t2\t2\tmm"), r":3: DataRate is 0, expected a positive number"),
    (edited(TRC, 4, "Frame#\tTime\tA\t\t"), r":4: 1 markers, but NumMarkers is 2"),
    (edited(TRC, 4, "Frame#\tTime\tA\t\t\tA\t\t"), r":4: columns 1 and 2 are both named 'A'"),
    (edited(TRC, 7), r"1 frames, but NumFrames is 2 in line 3: truncated"),
    (edited(TRC, 7, "2\t0.01\t1\t2\t3\t4"), r":7: 6 columns, expected 8; the row ends before 'B y'"),
    (edited(TRC, 7, "2\t0.01\t1\t2\t3\t4\t\t6"), r":7: marker 'B' has some of its three coordinates only"),
    (edited(TRC, 7, "2\t0.09\t1\t2\t3\t4\t5\t6"), r":7: column 2 \('Time'\) is 0.09 s, not at 100 Hz"),
    (edited(TRC, 7, "2\t0.01\t1\t2\t3\t4\t5\t6e"), r":7: column 8 \('B z'\) is '6e'"),
]
CSV_CASES = [
    (edited(CSV, 1, "subject,point,GM"), r":1: no column 'SO'; it has subject, point, GM"),
    (edited(CSV, 3, "A,2"), r":3: 2 columns, expected 3"),
    (edited(CSV, 3, "A,2,high"), r":3: column 2 \('SO'\) is 'high'"),
    (edited(CSV, 3, "A,2,nan"), r":3: column 'SO' is not a number"),
    (edited(CSV, keep=1), r"no rows below its header"),
]


def read_table(path):
    return read_csv(path, ["point", "SO"], text=["subject"])


@pytest.mark.parametrize(
    ("suffix", "read", "lines", "message"),
    [("sto", read_opensim, *case) for case in STO_CASES]
    + [("mot", read_opensim, *case) for case in STO_CASES[:1]]
    + [("trc", read_trc, *case) for case in TRC_CASES]
    + [("csv", read_table, *case) for case in CSV_CASES],
)
def test_a_malformed_text_file_is_one_clear_error(write_lines, suffix, read, lines, message):
    path = write_lines(f"bad.{suffix}", lines)
    with pytest.raises(FileError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_good_files_are_good(write_lines):
    assert len(read_opensim(write_lines("good.sto", STO)).time) == 3
    assert len(read_trc(write_lines("good.trc", TRC)).time) == 2
    assert len(read_table(write_lines("good.csv", CSV))["SO"]) == 2


C3D_CASES = [
    (lambda data: b"", "not a .c3d file, or truncated"),
    (lambda data: data[:600], "not a .c3d file, or truncated"),
    (lambda data: b"\x02\x51" + data[2:], "not a .c3d file"),
    (lambda data: data[:-512], "truncated"),
    (lambda data: data[:515] + b"\0" + data[516:], "ezc3d cannot read it.*processor"),
    (lambda data: data.replace(b"DATA_START", b"DATA_STERN"), "ezc3d cannot read it.*DATA_START"),
    (lambda data: data.replace(b"\x02mm", b"\x02ft"), "POINT:UNITS is 'ft', expected one of mm, cm, m"),
    (lambda data: data.replace(b"RKNE", b"LKNE"), "names two channels 'LKNE'"),
]


@pytest.mark.parametrize(("edit", "message"), C3D_CASES)
def test_a_malformed_c3d_is_one_clear_error(tmp_path, c3d_bytes, edit, message):
    path = tmp_path / "bad.c3d"
    path.write_bytes(edit(c3d_bytes))
    with pytest.raises(FileError, match=message) as caught:
        read_c3d(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_opensim, read_trc, read_c3d, read_table])
def test_what_is_not_there_or_a_folder_is_told(tmp_path, read):
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "none")
    with pytest.raises(FileError, match="a folder"):
        read(tmp_path)
