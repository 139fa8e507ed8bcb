"""Marker files: .trc, and .c3d with its analog channels, force plates and events."""

from __future__ import annotations

import numpy as np
import pytest

from musclewarp.errors import FileError
from musclewarp.motion.c3d import C3DEvent, read_c3d
from musclewarp.motion.markers import read_trc

TRC = [
    "PathFileType\t4\t(X/Y/Z)\tC:\\old names\\walk.trc",
    "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
    "  100.0\t\t100.0\t2\t2\tmm\t100.0\t1\t2",
    "Frame#\tTime\tR.Heel\t\t\tL Heel\t\t\t",
    "\t\tX1\tY1\tZ1\tX2\tY2\tZ2",
    "",
    "1\t0.00\t1000\t2000\t3000\t10\t20\t30\t",
    "2\t0.01\t1001\t2001\t3001\t\t\t\t",
]


def test_trc_positions_are_metres_and_hidden_markers_missing(write_lines):
    markers = read_trc(write_lines("walk.trc", TRC, "\r\n"))
    assert markers.labels == ("R.Heel", "L Heel")
    assert markers.time.tolist() == [0.0, 0.01]
    assert markers["R.Heel"] == pytest.approx(np.array([[1.0, 2.0, 3.0], [1.001, 2.001, 3.001]]))
    assert np.isnan(markers["L Heel"][1]).all()
    with pytest.raises(FileError, match=r"did you mean 'R\.Heel'"):
        markers["R.Heal"]


def test_c3d_markers_are_metres_from_the_first_frame_on(c3d_file):
    markers = read_c3d(c3d_file).markers
    assert markers.labels == ("RKNE", "LKNE")
    assert markers.time == pytest.approx(0.01 * np.arange(10))
    assert markers["RKNE"][3] == pytest.approx([0.03, 0.13, 0.23])
    assert np.flatnonzero(np.isnan(markers["LKNE"][:, 0])).tolist() == [4]


def test_c3d_analog_channels_come_in_si_units(c3d_file):
    analog = read_c3d(c3d_file).analog
    assert analog.columns[-1] == "EMG soleus"
    assert analog.units == ("N", "N", "N", "Nm", "Nm", "Nm", "V")
    assert analog.time == pytest.approx(0.005 * np.arange(20))
    assert analog["EMG soleus"] == pytest.approx(np.linspace(0, 1e-3, 20), rel=1e-5)
    assert analog["Mx"] == pytest.approx(5.0)


def test_c3d_force_plates_have_the_centre_of_pressure_of_their_moments(c3d_file):
    (plate,) = read_c3d(c3d_file).plates
    assert plate.force == pytest.approx(np.tile([0.0, 0.0, -500.0], (20, 1)))
    # 5 Nm about x from 500 N along z: 10 mm beside the plate's centre at (0.2, 0.3)
    assert np.abs(plate.center_of_pressure - [0.2, 0.3, 0.0]).max(axis=0) == pytest.approx([0.0, 0.01, 0.0], abs=1e-6)
    assert plate.corners[2].tolist() == pytest.approx([0.4, 0.6, 0.0])
    assert len(plate.time) == 20


def test_c3d_events_are_in_order_of_time(c3d_file):
    events = read_c3d(c3d_file).events
    assert [(e.label, e.context) for e in events] == [("Foot Off", "Left"), ("Foot Strike", "Right")]
    assert isinstance(events[0], C3DEvent)
    assert [e.time for e in events] == pytest.approx([0.02, 0.05])
