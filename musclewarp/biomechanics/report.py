"""How human a movement is, for a reader: one HTML page, and the numbers of every signal in `comparison.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from musclewarp.biomechanics.agreement import MAX_LAG, Agreement, SignalAgreement
from musclewarp.biomechanics.ceilings import Population
from musclewarp.biomechanics.experiments import Experiment
from musclewarp.biomechanics.experiments.experiment import SIDES
from musclewarp.biomechanics.figures import agreement_figure, label
from musclewarp.biomechanics.gait import summarize_gait
from musclewarp.biomechanics.movement import LEG, SIDE_OF, Kind
from musclewarp.biomechanics.replay import Replay
from musclewarp.files import write_text
from musclewarp.viz.page import format_number, html_table, key_value_table, svg_figure, write_page

PAGE, TABLE = "report.html", "comparison.csv"
_GRAVITY = 9.81
_SECTIONS: tuple[tuple[Kind, str, str], ...] = (
    ("angle", "Kinematics", "Joint angles; positive as named, pelvis turned about its right, forward and up axes."),
    ("moment", "Joint moments", "Net internal moments (muscles and ligaments), positive in the direction named."),
    ("grf", "Ground reaction forces", "Force of the ground on the foot; medial is towards the other foot."),
    (
        "emg",
        "Muscle activations",
        (
            "Simulated activation, the mean of the muscles under an electrode weighted by their peak forces, against "
            "the EMG's envelope. Where EMG was normalised by its own maximum, both are divided by the maximum of "
            "their mean: judge shape and timing, not size."
        ),
    ),
)
_READING = (
    "r is Pearson's correlation of the mean curves; the lag is the shift, within a quarter of the stride, at which "
    "they correlate best, positive where the simulation comes later; where they correlate still better beyond, there "
    "is none. EMG comes tens of milliseconds before the force that it commands (the electromechanical delay), of which "
    "a model has its activation's part at most. The ceiling (in figures in brackets) is the mean r of people with one "
    "another, each with one other, where one person was measured; where several people's mean was measured, it "
    "is the r of each person with the mean of the others. Their curves are means of many strides, one stride is "
    "noisier. What is given was taken from the measurement: its likeness is no finding, and its RMSE is what filters "
    "and the model's joints change. Dotted lines are the measured toe-off; bands are one standard deviation over "
    "strides or people."
)
_SHOWN_MOMENT = 0.05  # Nm/kg; reserves are shown beside what is more than that


def write_comparison(
    out: str | Path,
    agreement: Agreement,
    experiment: Experiment,
    population: Population | None = None,
    replay: Replay | None = None,
    context: Mapping[str, object] | None = None,
) -> tuple[Path, Path]:
    """Write the page and the table, each atomically.

    The table has the columns `signal, kind (angle, moment, grf or emg), side, r, lag_s, rmse, unit, ceiling_r`, then
    `basis, composed, measured_vs_population_r, r_at_lag, peak_lag_s, given`.

    Args:
        out: the folder.
        agreement: what to report.
        experiment: whose licence and citation stand there.
        population: whose EMG the ceilings are of.
        replay: what was replayed, for its residuals and reserves.
        context: provenance to list.

    Returns:
        The paths of `report.html` and `comparison.csv`.
    """
    simulated, measured = agreement.simulated.movement.label, agreement.measured.movement.label
    parts = [
        f"<h1>How human is it? {escape(simulated)}</h1>",
        f"<p>Beside {escape(measured)}: {escape(experiment.task)}{_person(experiment)}.</p>",
        _summary(agreement),
        f"<p class='note'>{escape(_READING)}</p>",
        "<h2>Gait</h2>",
        _gait(agreement),
        _list(agreement.notes),
    ]
    for kind, title, text in _SECTIONS:
        if found := agreement.of(kind):
            figure = svg_figure(agreement_figure(agreement, kind, population), f"{title}. {text}", kind)
            parts += [
                f"<h2>{title}</h2>",
                figure,
                _numbers(found, agreement.is_given(kind)),
                _coordination(agreement) if kind == "emg" else "",
            ]
    if replay is not None:
        parts += ["<h2>What the replay leaves unexplained</h2>", _residuals(replay)]
    parts += ["<h2>Strides left out</h2>", _rejected(agreement), "<h2>Data</h2>", _list(experiment.notes)]
    parts.append(_data(experiment, population))
    parts += ["<h2>Provenance</h2>", key_value_table(dict(context or {}))] if context else []
    out = Path(out)
    table = agreement.table().to_csv(index=False, float_format="%.6g", lineterminator="\n")
    written = write_text(out / TABLE, table)
    return write_page(out / PAGE, f"{simulated} beside {measured}", parts), written


def _person(experiment: Experiment) -> str:
    known = ((experiment.subject_mass, "kg"), (experiment.subject_height, "m"))
    return "".join(f", {value:g} {unit}" for value, unit in known if value)


def _summary(agreement: Agreement) -> str:
    judged = any(np.isfinite(one.ceiling_r) for one in agreement.signals)
    titles, rows = {kind: title for kind, title, _ in _SECTIONS}, list[list[str]]()
    for one in agreement.summary():
        told = ["given", "given"] if one.given else [format_number(one.mean_r), format_number(one.lowest_r)]
        if judged:
            told.append(format_number(one.mean_ceiling) if np.isfinite(one.mean_ceiling) else "")
        rows.append([titles[one.kind], f"{one.judged} of {one.signals}", *told])
    return html_table(["", "signals with an r", "mean r", "lowest r", *(["mean ceiling"] if judged else [])], rows)


def _gait(agreement: Agreement) -> str:
    rows: list[list[str]] = []
    for side in SIDES:
        for record in (agreement.measured, agreement.simulated):
            phases = record.phases.get(side)
            if phases is None or side not in agreement.bases or record.movement.events_given:
                continue
            name = f"{side} foot, {record.whose}"
            if phases.cycles.kept and not phases.borrowed:
                found = summarize_gait(phases.cycles.kept)
                numbers = ((found.stance_fraction, 100.0, 1), (found.stride_time, 1.0, 3), (found.cadence, 1.0, 1))
                cells = [format_number(*number) for number in numbers]
                rows.append([name, str(found.strides), *cells])
    return html_table(["", "strides", "stance (%)", "stride (s)", "steps per minute"], rows) if rows else ""


def _numbers(found: Sequence[SignalAgreement], given: bool) -> str:
    """Angles in degrees, lags in ms: what a reader expects; the table file is in SI units. Of the `given` only RMSE."""
    rows: list[list[str]] = []
    judged = any(np.isfinite(one.ceiling_r) for one in found)
    for one in found:
        degrees = one.unit == "rad"
        likeness = (
            format_number(one.numbers.r),
            _lag(one),
            format_number(one.numbers.r_at_lag),
            format_number(one.numbers.peak_lag_s, 1000.0, 0),
        )
        rows.append(
            [
                label(one.measured.name),
                one.measured.side,
                *(["given"] * len(likeness) if given else likeness),
                format_number(one.numbers.rmse, 180.0 / np.pi if degrees else 1.0),
                "degrees" if degrees else one.unit,
                *([format_number(one.ceiling_r), format_number(one.population_r)] if judged else []),
            ]
        )
    people = ["ceiling r", "measured beside people's mean, r"] if judged else []
    header = ["", "side", "r", "lag (ms)", "r at the lag", "peak's lag (ms)", "RMSE", "unit", *people]
    return html_table(header, rows, texts=2)


def _lag(one: SignalAgreement) -> str:
    if np.isnan(one.numbers.lag_s) and np.isfinite(one.numbers.r):
        return f"none within ±{MAX_LAG * one.stride:.2f} s"
    return format_number(one.numbers.lag_s, 1000.0, 0)


def _coordination(agreement: Agreement) -> str:
    rows = [
        [
            f"{leg.side} leg",
            str(leg.muscles),
            *(format_number(value) for value in (leg.rho, leg.ceiling, leg.population_rho)),
        ]
        for leg in agreement.coordination
    ]
    text = (
        "<p class='note'>Coordination, whatever the muscles' levels and timing: Spearman's rho between the simulated "
        "and the measured correlations of every muscle with every other.</p>"
    )
    return (
        text + html_table(["coordination", "muscles", "rho", "ceiling", "measured beside people's mean, rho"], rows)
        if rows
        else ""
    )


def _residuals(replay: Replay) -> str:
    """Forces at the root that nothing explains, and moments that no muscle produces."""
    force, moment = (float(np.sqrt((part**2).sum(axis=1).mean())) for part in np.split(replay.residuals, 2, axis=1))
    known = {
        "force at the root, RMS": f"{100 * force / (replay.mass * _GRAVITY):.1f} % of the body weight",
        "moment at the root, RMS": f"{moment / replay.mass:.2f} Nm/kg",
    }
    rows: list[list[str]] = []
    for name, moments, reserves in zip(replay.joint_names, replay.net_moments.T, replay.reserves.T):
        peak, largest = float(np.abs(moments).max()) / replay.mass, float(np.abs(reserves).max()) / replay.mass
        if name[:-2] in LEG and peak > _SHOWN_MOMENT:
            numbers = (format_number(peak), format_number(largest, 1.0, 4), format_number(largest / peak, 100.0, 1))
            rows.append([label(name[:-2]), SIDE_OF[name[-2:]], *numbers])
    header = ["", "side", "peak moment (Nm/kg)", "largest reserve (Nm/kg)", "of the peak (%)"]
    note = (
        "<p class='note'>A reserve is the part of a moment that the penalised optimum leaves, because more activity "
        "would cost more; only in impossible frames is it beyond all activations.</p>"
    )
    return key_value_table(known) + note + html_table(header, rows, texts=2)


def _rejected(agreement: Agreement) -> str:
    rows = [
        [f"{one.whose}, {one.side} foot", f"{one.cycle.start:.3f} to {one.cycle.end:.3f} s", one.kind, one.cycle.reason]
        for one in agreement.rejected
    ]
    if not rows:
        return "<p>None.</p>"
    return html_table(["", "when", "signals", "why"], rows, texts=4)


def _data(experiment: Experiment, population: Population | None) -> str:
    rows = {"experiment": experiment.name, "licence": experiment.licence, "cite": experiment.citation}
    if population is not None and population.citation != experiment.citation:
        rows |= {"ceilings": population.label, "licence of the ceilings": population.licence}
        rows |= {"cite for the ceilings": population.citation}
    return key_value_table(rows | {name: f"sha256 {digest}" for name, digest in experiment.files.items()})


def _list(notes: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""
