"""OpenSim's files, in all the forms that the data collection and OpenSim's own programs have."""

from __future__ import annotations

import numpy as np
import pytest

from musclewarp.errors import FileError
from musclewarp.motion.opensim import column_unit, coordinate_name, read_opensim, to_z_up

HEADER = ["Coordinates", "version=1", "nRows=2", "nColumns=4", "inDegrees=yes", "", "endheader"]
NAMES = "time\tknee_angle_r\tpelvis_tx\tsoleus_r"
ROWS = ["0.0\t90\t1.5\t0.2", "   0.1\t-45 \t1.6\t0.3"]


def test_degrees_become_radians_and_everything_else_stays(write_lines):
    table = read_opensim(write_lines("walk.mot", [*HEADER, NAMES, *ROWS]))
    assert table.time.tolist() == [0.0, 0.1]
    assert table.columns == ("knee_angle_r", "pelvis_tx", "soleus_r")
    assert table.units == ("rad", "m", "")
    assert table["knee_angle_r"] == pytest.approx([np.pi / 2, -np.pi / 4])
    assert table["pelvis_tx"].tolist() == [1.5, 1.6]
    assert table["soleus_r"].tolist() == [0.2, 0.3]
    assert table.source["file"] == "walk.mot"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_on_any_system(write_lines, end):
    table = read_opensim(write_lines("walk.mot", [*HEADER, NAMES, *ROWS], end))
    assert table["pelvis_tx"].tolist() == [1.5, 1.6]


def test_simm_headers_tell_degrees_in_words(write_lines):
    header = ["name Coordinates", "datacolumns 2", "datarows 1", "range 0 0", "Angles are in degrees.", "endheader"]
    table = read_opensim(write_lines("old.mot", [*header, "", "  time\t hip_flexion_r\t", " 0.5\t 180\t"]))
    assert table["hip_flexion_r"] == pytest.approx([np.pi])
    assert table.time.tolist() == [0.5]


def test_a_header_that_says_nothing_of_degrees_needs_an_answer(write_lines):
    path = write_lines("walk.mot", ["x", "endheader", NAMES, *ROWS])
    with pytest.raises(FileError, match="pass in_degrees"):
        read_opensim(path)
    assert read_opensim(path, in_degrees=True)["knee_angle_r"][0] == pytest.approx(np.pi / 2)
    assert read_opensim(write_lines("f.mot", ["x", "endheader", "time F_force_vx", "0 3"])).units == ("N",)


def test_an_answer_cannot_contradict_the_header(write_lines):
    with pytest.raises(FileError, match="contradicts the header"):
        read_opensim(write_lines("walk.mot", [*HEADER, NAMES, *ROWS]), in_degrees=False)


def test_degrees_in_a_file_that_says_radians_are_seen_and_can_be_dropped(write_lines):
    header = ["Coordinates", "inDegrees=no", "endheader", "time\t/jointset/patellofemoral_r/knee_angle_r_beta/value\ta"]
    path = write_lines("coordinates.sto", [*header, "0\t21.6\t1", "1\t72.2\t2"])
    with pytest.raises(FileError, match=r":6: column 2 .*knee_angle_r_beta.* is 72.2 rad by the header.* degrees"):
        read_opensim(path)
    assert read_opensim(path, drop=["knee_angle_r_beta"]).columns == ("a",)


def test_a_missing_centre_of_pressure_stays_missing_but_no_missing_angle_passes(write_lines):
    grf = ["g", "endheader", "time\tground_force_r_vy\tground_force_r_px", "0\t0\tnan", "1\t500\t0.2"]
    assert np.isnan(read_opensim(write_lines("g.mot", grf))["ground_force_r_px"][0])
    with pytest.raises(FileError, match=r"walk.mot:10: column 2 \('knee_angle_r'\) is not a number"):
        read_opensim(write_lines("walk.mot", [*HEADER, NAMES, ROWS[0], "0.1\tNaN\t1\t2"]))


def test_computed_activations_have_no_unit_even_where_named_like_coordinates(write_lines):
    lines = ["Static Optimization", "inDegrees=no", "endheader", "time\tsoleus_r\tknee_angle_r", "0\t0.1\t40"]
    assert read_opensim(write_lines("so.sto", lines)).units == ("1", "1")


@pytest.mark.parametrize(
    ("column", "name", "unit"),
    [
        ("/jointset/walker_knee_r/knee_angle_r/value", "knee_angle_r", "rad"),
        ("/jointset/walker_knee_r/knee_angle_r/speed", "knee_angle_r", "rad/s"),
        ("/jointset/ground_pelvis/pelvis_tx/value", "pelvis_tx", "m"),
        ("/jointset/ground_pelvis/pelvis_tx/speed", "pelvis_tx", "m/s"),
        ("/forceset/soleus_r/activation", "activation", "1"),
        ("hip_flexion_r_moment", "hip_flexion_r_moment", "Nm"),
        ("pelvis_ty_force", "pelvis_ty_force", "N"),
        ("R_ground_force_vy", "R_ground_force_vy", "N"),
        ("1_ground_force_pz", "1_ground_force_pz", "m"),
        ("ground_torque_r_y", "ground_torque_r_y", "Nm"),
        ("pro_sup_l", "pro_sup_l", "rad"),
        ("lumbar_bending", "lumbar_bending", "rad"),
        ("addbrev_r", "addbrev_r", ""),
        ("soleus_r", "soleus_r", ""),
    ],
)
def test_names_tell_units(column, name, unit):
    assert coordinate_name(column) == name
    assert column_unit(column) == unit


def test_up_becomes_z_and_right_becomes_minus_y():
    assert to_z_up(np.array([1.0, 2.0, 3.0])).tolist() == [1.0, -3.0, 2.0]
