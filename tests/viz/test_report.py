"""Figures and the page that holds them."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from musclewarp.errors import ConfigError
from musclewarp.evaluation.metrics import summarize
from musclewarp.models import load_model
from musclewarp.viz import plots
from musclewarp.viz.report import CONTROLLERS, format_number, write_report


@pytest.fixture(scope="module")
def evaluated(model, make_trial):
    """What `evaluate` returns for two clips, the second tracked worse and failing at once."""
    offsets = {"policy": 0.05, "untrained": 0.3, "zero_excitation": 0.5}
    trials = {
        name: [
            make_trial(model, offset=offset, controller=name),
            make_trial(model, offset=1.5 * offset, controller=name, clip="<script>alert('x')</script>", failed_at=0),
        ]
        for name, offset in offsets.items()
    }
    result = {name: summarize(group) for name, group in trials.items()}
    result["clips"] = [{"name": trial.clip, **summarize([trial])} for trial in trials["policy"]]
    return result, trials


@pytest.fixture(scope="module")
def page(model, evaluated, tmp_path_factory):
    """The page about both clips; drawing its figures takes seconds, so it is written once."""
    result, trials = evaluated
    folder = tmp_path_factory.mktemp("report")
    context = {"frames trained": "1,234", "policy": "<b>&"}
    return write_report(
        folder / "pages" / "r.html", model, result, trials, folder / "videos" / "a b.mp4", context
    ).read_text()


def cells(page: str) -> list[str]:
    return re.findall(r"<td[^>]*>([^<]*)</td>", page)


def test_report_contains_every_number(model, evaluated, page):
    result, _ = evaluated
    found = cells(page)
    for summary in [*(result[name] for name in CONTROLLERS), *result["clips"]]:
        assert f"{summary['success']:.2f}" in found
        assert f"{summary['frame_coverage']:.3f}" in found
        for errors in (summary, summary["survived"] if summary in result.values() else None):
            if errors is None:
                continue
            assert f"{100 * errors['relative_site_error_m']:.2f}" in found
            assert f"{100 * errors['relative_site_error_to_recording_m']:.2f}" in found
            assert f"{np.rad2deg(errors['joint_error_rad']):.2f}" in found
            assert f"{errors['joint_velocity_error_rad_s']:.3f}" in found
    assert "1,234" in page
    assert model.hash in page


def test_report_escapes_names(page):
    assert "<script" not in page
    assert "&lt;script&gt;alert(" in page
    assert "&lt;b&gt;&amp;" in page


def test_report_needs_no_network_and_is_well_formed(page):
    assert not re.search(r"(src|href)=.?(https?:|//)", page)
    assert page.count("data:image/png;base64,") == 2 * 4  # two clips, four figures for a model without feet
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "img"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Checker().feed(page)
    assert not open_tags


def test_report_shows_the_worst_clip_first(page):
    assert [title[:4] for title in re.findall(r"<h3>(.*?)</h3>", page)] == ["&lt;", "wave"]


def test_report_shows_at_most_three_clips(model, make_trial, tmp_path, monkeypatch):
    monkeypatch.setattr("musclewarp.viz.report.png_figure", lambda figure, caption: "")  # drawing is slow
    trials = {"policy": [make_trial(model, clip=f"clip{i}", offset=0.1 * i) for i in range(5)]}
    result = {"policy": summarize(trials["policy"]), "clips": []}
    page = write_report(tmp_path / "r.html", model, result, trials, None, {}).read_text()
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["clip4", "clip3", "clip2"]


def test_numbers_that_are_not_finite_are_written_as_none(model, evaluated, tmp_path):
    result = copy.deepcopy(evaluated[0])
    result["policy"]["relative_site_error_m"] = float("nan")
    result["untrained"]["joint_error_rad"] = float("inf")
    result["zero_excitation"]["survived"] = None
    page = write_report(tmp_path / "r.html", model, result, {}, None, {"loss": float("nan"), "seed": None}).read_text()
    found = cells(page)
    assert found.count("none") == 2 + 4 + 2
    assert not {"nan", "inf", "NaN", "None"} & set(found)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "text", np.float32("nan")])
def test_what_is_not_a_number_is_none(value):
    assert format_number(value) == "none"


def test_video_is_linked_relative_to_the_page(page):
    assert "src='../videos/a%20b.mp4'" in page


@pytest.mark.parametrize(("frames", "failed_at"), [(1, -1), (1, 0), (5, 1), (5, 0)])
def test_plots_draw_trials_that_end_at_once(model, make_trial, frames, failed_at, tmp_path):
    trial = make_trial(model, frames=frames, failed_at=failed_at, offset=0.1)
    figures = [
        plots.tracking_error({"policy": trial}, 0.08),
        plots.joint_angles(trial),
        plots.activations(trial, model),
        plots.paths(trial),
    ]
    for figure in figures:
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / "figure.png", dpi=30)


def test_models_without_feet_have_no_ground_reaction_figure(model, make_trial):
    with pytest.raises(ConfigError, match="no feet"):
        plots.ground_reaction(make_trial(model))


def test_models_with_feet_have_a_ground_reaction_figure_of_each_foot(make_trial, tmp_path):
    body = load_model("myofullbody")
    trial = make_trial(body)
    trial.arrays["foot_force"][:, 0] = [3.0, 4.0, 500.0]
    vertical, horizontal = plots.ground_reaction(trial).axes
    assert vertical.lines[0].get_ydata()[0] == 500.0
    assert horizontal.lines[0].get_ydata()[0] == 5.0
    assert [line.get_label() for line in vertical.lines] == ["right", "left"]
    joints = [axes.get_title() for axes in plots.joint_angles(trial).axes if axes.get_visible()]
    assert len(joints) == 16
    assert {"hip_flexion_r", "knee_angle_l", "ankle_angle_r"} <= set(joints)
    plots.paths(trial).savefig(tmp_path / "paths.png", dpi=30)


def test_error_figure_draws_centimetres_and_the_limit(model, make_trial):
    trial = make_trial(model, offset=0.2)
    axes = plots.tracking_error({"policy": trial}, 0.08).axes[0]
    assert axes.lines[0].get_ydata()[0] == pytest.approx(100 * summarize([trial])["relative_site_error_m"])
    assert axes.lines[1].get_ydata()[0] == pytest.approx(8.0)


def test_activation_map_sorts_muscles_by_side_and_group(model, make_trial):
    trial = make_trial(model)
    table = model.muscles
    wrist = ((table["side"] == "left") & (table["group"] == "wrist")).to_numpy()
    trial.arrays["activation"][:, wrist] = 1.0
    axes = plots.activations(trial, model).axes[0]
    lit = np.flatnonzero(np.asarray(axes.images[0].get_array())[:, 0])
    assert np.array_equal(lit, np.arange(lit[0], lit[0] + wrist.sum()))
    labels = {label.get_text(): position for label, position in zip(axes.get_yticklabels(), axes.get_yticks())}
    assert labels[f"left wrist ({wrist.sum()})"] == pytest.approx(lit.mean() + 0.5)
