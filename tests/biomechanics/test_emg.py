"""Envelopes, onsets and faults of made-up EMG: noise whose modulation is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.biomechanics.emg import EmgConfig, band_pass, bursts, check_channels, envelope, normalize, quietest
from musclewarp.biomechanics.signals import zero_phase
from musclewarp.errors import SignalError

RATE = 2000.0


def emg_like(modulation, seed=0, rate=RATE):
    """White noise within the EMG band times `modulation (T,)`."""
    noise = np.random.default_rng(seed).normal(size=len(modulation))
    return zero_phase(noise, rate, 4, 30.0, 300.0) * modulation


def seconds(duration, rate=RATE):
    return np.arange(0, duration, 1 / rate)


def test_the_envelope_follows_the_modulation_without_delay():
    time = seconds(40)
    modulation = 1.0 + 0.8 * np.sin(2 * np.pi * time)
    found = envelope(emg_like(modulation), RATE)
    cycle = found.reshape(40, -1)[1:-1].mean(axis=0)  # noise averages out over 38 cycles
    expected = modulation[: len(cycle)]
    assert np.corrcoef(cycle, expected)[0, 1] > 0.995
    assert abs(np.argmax(cycle) / RATE - 0.25) < 0.02


def test_the_envelope_of_a_tone_is_its_mean_rectified_value():
    """|sin| has the mean 2 / pi, and the band passes 101 Hz whole (at 100 Hz always the same 20 phases are sampled)."""
    tone = 3.0 * np.sin(2 * np.pi * 101 * seconds(4))
    np.testing.assert_allclose(envelope(tone, RATE)[2000:-2000], 3.0 * 2 / np.pi, rtol=2e-3)


@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_an_envelope_scales_with_the_gain_and_ignores_offset_and_sign(gain, offset, seed):
    raw = emg_like(np.ones(4000), seed)
    reference = envelope(raw, RATE)
    assert (reference >= 0).all()
    inner = slice(500, -500)  # an offset makes a step at the ends, of which rounding remains
    np.testing.assert_allclose(
        envelope(gain * (offset - raw), RATE)[inner], gain * reference[inner], rtol=1e-6, atol=gain * 1e-6
    )


def test_sampling_below_the_bands_upper_edge_leaves_a_high_pass():
    raw = np.random.default_rng(0).normal(size=(3000, 2))
    np.testing.assert_array_equal(band_pass(raw, 800.0), zero_phase(raw, 800.0, 4, low=20.0))
    np.testing.assert_array_equal(band_pass(raw, 1000.0), zero_phase(raw, 1000.0, 4, 20.0, 450.0))
    with pytest.raises(SignalError, match="half the sampling rate"):
        band_pass(raw, 30.0)


def test_filters_are_the_configs():
    raw = emg_like(np.ones(4000))
    rectified = np.abs(zero_phase(raw, RATE, 1, 40.0, 200.0))
    config = EmgConfig(band=(40.0, 200.0), band_order=1, envelope=3.0, envelope_order=1)
    np.testing.assert_array_equal(envelope(raw, RATE, config), zero_phase(rectified, RATE, 1, high=3.0).clip(0.0))


def test_normalisation_is_by_what_was_asked():
    signal = np.array([[1.0, 2.0], [3.0, 10.0], [2.0, 0.0]])
    np.testing.assert_allclose(normalize(signal).max(axis=0), 1.0)
    np.testing.assert_allclose(normalize(signal, "mean").mean(axis=0), 1.0)
    np.testing.assert_allclose(normalize(signal, [6.0, 20.0]), signal / [6.0, 20.0])
    with pytest.raises(SignalError, match="'mvc'"):
        normalize(signal, "mvc")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SignalError, match=r"channel \[1\] has the level 0"):
        normalize(signal * [1, 0])


@pytest.mark.parametrize(("gain", "worst", "typical"), [(3, 0.02, 0.005), (10, 0.03, 0.01), (30, 0.045, 0.017)])
@pytest.mark.parametrize("rate", [1000.0, 2000.0])
def test_known_onsets_and_offsets_come_back(gain, worst, typical, rate):
    """The stronger the burst, the earlier its first part lifts the mean over the window above the threshold."""
    time = seconds(5, rate)
    on = ((time >= 1.5) & (time < 2.1)) | ((time >= 3.0) & (time < 3.4))
    errors = []
    for seed in range(10):
        rest = np.random.default_rng(seed).normal(size=len(time))
        raw = rest * np.where(on, gain, 1.0)
        found = bursts(band_pass(raw, rate), rate, (10.2, 11.2), start=10.0)
        real = found[np.diff(found)[:, 0] > 0.1]
        assert real.shape == (2, 2)
        errors.append(real - [[11.5, 12.1], [13.0, 13.4]])
    assert np.abs(errors).max() < worst
    assert np.abs(np.median(errors, axis=0)).max() < typical


@given(st.floats(1e-3, 1e3))
@settings(max_examples=10, deadline=None)
def test_onsets_do_not_depend_on_the_gain(gain):
    time = seconds(3)
    raw = np.random.default_rng(3).normal(size=len(time)) * np.where((time > 1.5) & (time < 2.0), 6.0, 1.0)
    np.testing.assert_array_equal(bursts(gain * raw, RATE, (0.1, 1.1)), bursts(raw, RATE, (0.1, 1.1)))


def test_bursts_that_the_record_cuts_end_with_it():
    time = seconds(3)
    on = (time < 0.3) | (time > 2.6)
    raw = np.random.default_rng(0).normal(size=len(time)) * np.where(on, 8.0, 1.0)
    found = bursts(band_pass(raw, RATE), RATE, (0.6, 2.2))
    np.testing.assert_allclose(found, [[0.0, 0.3], [2.6, 3.0]], atol=0.02)


def test_a_resting_muscle_has_no_burst():
    raw = np.random.default_rng(0).normal(size=6000)
    found = bursts(band_pass(raw, RATE), RATE, (0.2, 2.8))
    assert len(found) == 0


def test_the_baseline_must_lie_in_the_record():
    for baseline in ((-1.0, 0.5), (0.5, 9.0), (0.5, 0.51)):
        with pytest.raises(SignalError, match="baseline"):
            bursts(np.ones(2000), RATE, baseline)


def test_the_quietest_stretch_is_found():
    time = seconds(4)
    raw = emg_like(np.where((time > 2.0) & (time < 2.6), 0.05, 1.0))
    begin, end = quietest(raw, RATE, 0.5, start=7.0)
    assert begin > 8.99
    assert end < 9.61
    assert end - begin == pytest.approx(0.5)
    with pytest.raises(SignalError, match="no window"):
        quietest(raw, RATE, 5.0)


@pytest.fixture
def healthy():
    """Six bursting channels of ten seconds, with a little mains hum and drift, in microvolts of 0.1."""
    time = seconds(10, 1000.0)
    burst = np.where(time % 1.0 < 0.4, 1.0, 0.1)
    channels = [emg_like(40 * burst, seed, 1000.0) for seed in range(6)]
    hum = 1.5 * np.sin(2 * np.pi * 50 * time) + 3 * np.sin(2 * np.pi * 0.5 * time)
    return np.round(np.stack(channels, axis=1) + hum[:, None], 1)


NAMES = ("TA", "SO", "GM", "VL", "RF", "BF")


def fault(raw):
    """Faults of the first channel; the others have none."""
    reports = check_channels(raw, 1000.0, NAMES)
    assert [report.name for report in reports] == list(NAMES)
    assert all(report.usable for report in reports[1:])
    return " ".join(reports[0].faults)


def test_good_channels_have_no_fault(healthy):
    assert fault(healthy) == ""


@pytest.mark.parametrize("burst_share", [0.05, 0.2, 1.0])
def test_bursting_is_no_fault(burst_share):
    time = seconds(10, 1000.0)
    raw = emg_like(np.where(time % 1.0 < burst_share, 40.0, 1.0), rate=1000.0)
    assert check_channels(raw[:, None], 1000.0, ["TA"])[0].faults == ()


def test_each_fault_is_named(healthy):
    time = seconds(10, 1000.0)

    def spoilt(change):
        raw = healthy.copy()
        raw[:, 0] = change(raw[:, 0].copy())
        return fault(raw)

    def during(x, where, value):
        x[where] = value
        return x

    assert spoilt(lambda x: during(x, slice(100, 103), np.nan)) == "3 of 10000 samples are missing"
    assert spoilt(np.zeros_like) == "flat: the signal never changes"
    assert spoilt(lambda x: during(x, slice(4000, 4200), 3.0)) == "flat: no change for 0.200 s"
    assert spoilt(lambda x: 0.01 * x).startswith("dead: 1.0% of the median channel's RMS")
    assert spoilt(lambda x: np.clip(x, -50, 50)).startswith("clipped: ")
    assert spoilt(lambda x: x + 60 * np.sin(2 * np.pi * 60 * time)).startswith("powerline: ")
    assert "at 60 Hz" in spoilt(lambda x: x + 60 * np.sin(2 * np.pi * 60 * time))
    sway = 300 * np.exp(-(((time % 1.0) - 0.5) ** 2) / (2 * 0.03**2))
    assert spoilt(lambda x: x + sway).startswith("motion: ")
    pop = 900.0 * np.exp(-((time - 6.0) ** 2) / (2 * 0.002**2))
    assert "spike: " in spoilt(lambda x: x + pop)
    assert "6.0" in spoilt(lambda x: x + pop)


def test_channels_must_match_their_names(healthy):
    with pytest.raises(SignalError, match="raw EMG has shape"):
        check_channels(healthy, 1000.0, NAMES[:5])
