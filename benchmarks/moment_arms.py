"""Moment arms and fibre-length operating ranges of 20 muscles: MyoFullBody, MS-Human-700, and what was measured.

    python benchmarks/moment_arms.py --data data

One joint turns through its range, the others are at their default. A moment arm is -dl/dq (An et al. 1984, J Biomech
Eng 106:280), joints that the coordinate drives included; positive where the muscle's pull increases the coordinate.

Published figures are those of the papers' abstracts, or of their tables and figures as others read them: Nemeth's
table by Modenese & Kohout 2020 (Ann Biomed Eng, doi 10.1007/s10439-020-02490-4), the curves of abduction and of the
elbow by the authors of MyoFullBody (musclemimic_models, scripts/experimental_validation/data). Between the angles given
we interpolate. A case without such figures is "not compared", and only its sign is looked at. The windows at the ankle
and in rotation are ours. The rotator cuff's rotation was measured in an abducted or flexed arm; whether the scapula
turned along in the measured abduction, as it does in the models, we could not check.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from rich.console import Console
from rich.table import Table

from musclewarp.files import write_text
from musclewarp.models import Couplings, load_model
from musclewarp.models.excursion import sweep
from musclewarp.models.muscles import muscle_table

ROOT = Path(__file__).resolve().parents[1]
MYO, HUMAN = "MyoFullBody", "MS-Human-700"
COLOURS = {MYO: "tab:blue", HUMAN: "tab:orange"}
STEPS = 121
TOLERANCE = 0.5  # an outlier is further than this share of the published figure from it, and further than NOISE
ACTIVE = (0.5, 1.5)  # normalised fibre lengths with active force (Zajac 1989, Crit Rev Biomed Eng 17:359)
NOISE = 5.0  # mm; a sign is wrong from here on

ABDUCTION = "Ackland et al. 2008, J Anat 213:383, digitised"
ACHILLES = "Maganaris et al. 2000, Eur J Appl Physiol 83:363 (rest); Manal et al. 2013, Physiol Rep 1:e00139"
NEMETH = "Nemeth & Ohlsen 1985, J Biomech 18:129"
PIGEON = "Pigeon et al. 1996, J Biomech 29:1365, digitised"
QUADRICEPS = "Im et al. 2015, J Biomech 48:3737 (effective arm of the whole quadriceps)"
ROTATION = "Ackland & Pandy 2011, J Orthop Res 29:658: peaks of the largest sub-region in abduction and flexion"
SUGISAKI = "Sugisaki et al. 2010, J Biomech 43:2844"
TIBIALIS = "Maganaris 2000, J Biomech 33:375 (rest)"


@dataclass(frozen=True)
class Case:
    """A muscle at a joint, by MyoFullBody's names.

    Attributes:
        muscle: its name.
        joint: what turns.
        title: both, for a reader.
        sign: of the moment arm, from what anatomy says the muscle does: +1 or -1.
        window: angles in degrees where sign and published figures hold.
        published: rows of an angle in degrees, the least and the largest magnitude there in mm, by ascending angle;
            one row holds everywhere, none: no figures that could be verified.
        source: of them.
        peak: the figures are those of the largest moment arm, not of all.
    """

    muscle: str
    joint: str
    title: str
    sign: int
    window: tuple[float, float]
    published: tuple[tuple[float, float, float], ...] = ()
    source: str = "not compared"
    peak: bool = False

    def band(self, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least and largest published magnitude `(B,)` mm at angles `(B,)` in degrees."""
        at, low, high = np.array(self.published).T
        return np.interp(angle, at, low), np.interp(angle, at, high)


_GLUTEUS = ((0, 79, 79), (5, 75, 75), (30, 66, 66), (60, 51, 51), (90, 31, 31))
_EXTENSORS = ((10, 45.5, 47.1), (50, 31.5, 32.9))  # women and men
_DELTOID = ((5, 10, 10), (30, 22, 22), (60, 27, 27), (90, 29, 29))
_SUPRASPINATUS = ((5, 23, 26), (30, 19, 21), (60, 15, 18), (90, 11, 14))  # anterior and posterior sub-region
# Others measured much the same as Pigeon: biceps 42, 53 and 52 mm at 60, 90 and 110 degrees (Ettema et al. 1998, Hum
# Mov Sci 17:201); brachialis 21, 29 and 33 mm at 60, 90 and 115 degrees (Murray et al. 1995, J Biomech 28:513, male).
_BICEPS = ((0, 15, 15), (30, 28, 28), (60, 42, 42), (90, 49, 49), (120, 44, 44))
_BRACHIALIS = ((0, 6, 6), (30, 14, 14), (60, 24, 24), (90, 30, 30), (120, 31, 31))
_BRACHIORADIALIS = ((0, 20, 20), (30, 32, 32), (60, 53, 53), (90, 69, 69), (120, 72, 72))
_TRICEPS = ((30, 23.9, 23.9), (110, 17.4, 17.4))

CASES = (
    Case("glmax2_r", "hip_flexion_r", "gluteus maximus, hip flexion", -1, (0, 90), _GLUTEUS, NEMETH),
    Case("iliacus_r", "hip_flexion_r", "iliacus, hip flexion", 1, (0, 90)),
    Case("glmed2_r", "hip_adduction_r", "gluteus medius, hip adduction", -1, (-20, 20)),
    Case("recfem_r", "knee_angle_r", "rectus femoris, knee flexion", -1, (10, 50), _EXTENSORS, QUADRICEPS),
    Case("vaslat_r", "knee_angle_r", "vastus lateralis, knee flexion", -1, (10, 50), _EXTENSORS, QUADRICEPS),
    Case("bflh_r", "knee_angle_r", "biceps femoris (long), knee flexion", 1, (0, 90)),
    Case("semimem_r", "knee_angle_r", "semimembranosus, knee flexion", 1, (0, 90)),
    Case("semiten_r", "knee_angle_r", "semitendinosus, knee flexion", 1, (0, 90)),
    Case("gasmed_r", "knee_angle_r", "gastrocnemius (medial), knee flexion", 1, (0, 90)),
    Case("soleus_r", "ankle_angle_r", "soleus, ankle dorsiflexion", -1, (-30, 15), ((0, 35, 56),), ACHILLES),
    Case("tibant_r", "ankle_angle_r", "tibialis anterior, ankle dorsiflexion", 1, (-30, 15), ((0, 29, 45),), TIBIALIS),
    Case("DELT2", "shoulder_elv_r", "deltoid (middle), shoulder elevation", 1, (5, 90), _DELTOID, ABDUCTION),
    Case("SUPSP", "shoulder_elv_r", "supraspinatus, shoulder elevation", 1, (5, 90), _SUPRASPINATUS, ABDUCTION),
    Case(
        "SUBSC", "shoulder_rot_r", "subscapularis, shoulder rotation", 1, (-45, 45), ((0, 24.4, 27.0),), ROTATION, True
    ),
    Case(
        "INFSP", "shoulder_rot_r", "infraspinatus, shoulder rotation", -1, (-45, 45), ((0, 23.3, 28.3),), ROTATION, True
    ),
    Case("TMIN", "shoulder_rot_r", "teres minor, shoulder rotation", -1, (-45, 45), ((0, 22.1, 26.5),), ROTATION, True),
    Case("BIClong", "elbow_flex_r", "biceps (long), elbow flexion", 1, (0, 120), _BICEPS, PIGEON),
    Case("BRA", "elbow_flex_r", "brachialis, elbow flexion", 1, (0, 120), _BRACHIALIS, PIGEON),
    Case("BRD", "elbow_flex_r", "brachioradialis, elbow flexion", 1, (0, 120), _BRACHIORADIALIS, PIGEON),
    Case("TRIlat", "elbow_flex_r", "triceps (lateral), elbow flexion", -1, (30, 110), _TRICEPS, SUGISAKI),
)


def human_name(name: str) -> str:
    """A muscle or joint of MyoFullBody by the name it has in MS-Human-700."""
    return {"elbow_flex_r": "elbow_flexion_r"}.get(name, name if name.endswith("_r") else f"{name}_r")


def load_human(data_root: Path) -> mujoco.MjModel:
    """MS-Human-700 from the data root; its includes need an absolute path."""
    return mujoco.MjModel.from_xml_path(str((data_root / "models/ms_human_700/MS-Human-700.xml").resolve()))


def measure(model: mujoco.MjModel, cases: Sequence[Case], human: bool) -> dict[str, dict[str, Any]]:
    """Curves and verdicts by title: angles in degrees, moment arms in mm, normalised fibre lengths."""
    couplings = Couplings.from_model(model)
    table = muscle_table(model, couplings)
    sweeps = {}
    results = {}
    for case in cases:
        joint, muscle = (human_name(n) if human else n for n in (case.joint, case.muscle))
        if joint not in sweeps:
            sweeps[joint] = sweep(model, couplings, int(model.joint(joint).dofadr[0]), STEPS)
        actuator = model.actuator(muscle).id
        angle, arm = np.degrees(sweeps[joint].angle), -1e3 * sweeps[joint].slope[:, actuator]
        slack, optimal = (float(table[f"{k}_length"].iloc[actuator]) for k in ("tendon_slack", "optimal_fibre"))
        fibre = (sweeps[joint].length[:, actuator] - slack) / optimal
        working = (fibre > ACTIVE[0]) & (fibre < ACTIVE[1])
        results[case.title] = {
            "angle_deg": angle.round(2).tolist(),
            "moment_arm_mm": arm.round(2).tolist(),
            "fibre_length_min_max": [round(float(fibre.min()), 3), round(float(fibre.max()), 3)],
            "active_range_of_the_model": model.actuator_gainprm[actuator, 4:6].tolist(),
            "active_fraction": round(float(working.mean()), 3),
            "outlier": verdict(case, angle, arm),
        }
    return results


def astray(case: Case, angle: np.ndarray, arm: np.ndarray) -> np.ndarray:
    """Where `(B,)` a curve (degrees, mm) inside the case's window has the wrong sign, or is not what was published."""
    inside, along = (angle >= case.window[0]) & (angle <= case.window[1]), case.sign * arm
    wrong = along < -NOISE
    if case.published:
        low, high = case.band(angle)
        judged = np.full_like(along, along[inside].max()) if case.peak else along
        wrong |= judged < low - np.maximum(NOISE, TOLERANCE * low)
        wrong |= judged > high + np.maximum(NOISE, TOLERANCE * high)
    return inside & wrong


def verdict(case: Case, angle: np.ndarray, arm: np.ndarray) -> str | None:
    """What is wrong with a curve (degrees, mm) inside the case's window, where it is worst; None if nothing."""
    wrong = astray(case, angle, arm)
    if not wrong.any():
        return None
    share = wrong.sum() / ((angle >= case.window[0]) & (angle <= case.window[1])).sum()
    angle, along = angle[wrong], case.sign * arm[wrong]
    low, high = case.band(angle) if case.published else np.outer((0.0, np.inf), np.ones_like(along))
    i = int(along.argmax() if case.peak else np.maximum(low - along, along - high).argmax())
    kind = "opposite sign: " if along[i] < -NOISE else ""
    text = f"{kind}{case.sign * along[i]:.0f} mm at {angle[i]:.0f} degrees"
    if not case.published:
        return f"{text} ({share:.0%} of the window)"
    ends = dict.fromkeys(f"{case.sign * end[i]:.0f}" for end in (low, high))
    return f"{text}, published {' to '.join(ends)} ({'the peak' if case.peak else f'{share:.0%} of the window'})"


def draw(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Twenty panels of moment arms, and beside them how long the fibres are meanwhile."""
    figure = Figure(figsize=(18, 14))
    figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
    left, right = figure.subfigures(1, 2, width_ratios=(3.1, 1.0))
    left.suptitle("Moment arm in mm against joint angle in degrees", fontsize=14)
    for axes, case in zip(left.subplots(5, 4).flat, CASES, strict=True):
        draw_case(axes, case, results)
    handles: list[Any] = [Line2D([], [], color=COLOURS[name], label=name) for name in results]
    handles += [
        Patch(color="0.8", label="published"),
        Line2D([], [], color="0.4", ls="--", label="published peak"),
        Line2D([], [], color="tab:red", lw=4, alpha=0.35, label="wrong sign, or more than 50 % and 5 mm off"),
    ]
    left.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=11)
    draw_ranges(right.subplots(), results)
    return figure


def draw_case(axes: Axes, case: Case, results: Mapping[str, Mapping[str, Any]]) -> None:
    """The curves of one muscle, outliers on a red ground."""
    if case.published:
        at = np.linspace(*case.window, STEPS)
        low, high = case.band(at)
        if case.peak:
            axes.plot(at, case.sign * np.transpose((low, high)), color="0.4", ls="--", lw=1)
        else:
            pad = np.maximum(0.0, 1.0 - (high - low) / 2)  # at least 2 mm wide, to be seen
            axes.fill_between(at, case.sign * (low - pad), case.sign * (high + pad), color="0.8", lw=0)
    for name, result in results.items():
        curve = result[case.title]
        angle, arm = np.array(curve["angle_deg"]), np.array(curve["moment_arm_mm"])
        axes.plot(angle, arm, color=COLOURS[name], lw=1.8)
        if curve["outlier"]:
            there = np.where(astray(case, angle, arm), arm, np.nan)
            axes.plot(angle, there, color="tab:red", lw=7, alpha=0.25, solid_capstyle="butt")
    axes.axhline(0, color="0.6", lw=0.6)
    compared = bool(case.published)
    axes.set_title(case.title + ("" if compared else "\nsign only"), fontsize=10, color="black" if compared else "0.4")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def draw_ranges(axes: Axes, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Normalised fibre lengths of each muscle while its joint turns; grey: where muscle has active force."""
    count = len(results)
    for row, case in enumerate(CASES):
        for k, (name, result) in enumerate(results.items()):
            curve, y = result[case.title], row + 0.32 * (k - (count - 1) / 2)
            start, end = curve["fibre_length_min_max"]
            axes.barh(y, max(end - start, 0.01), 0.2, left=start, color=COLOURS[name])
    axes.axvspan(*ACTIVE, color="0.92", lw=0, zorder=0)
    axes.axvline(1.0, color="0.3", lw=0.8, ls=":")
    axes.set_yticks(range(len(CASES)), [case.title.replace(", ", ",\n") for case in CASES], fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("normalised fibre length\n(grey: active force; dotted: optimum)")
    axes.set_xlim(0.0, 1.6)
    axes.set_title("Operating ranges", fontsize=14)
    axes.spines[["top", "right"]].set_visible(False)


def show(results: Mapping[str, Mapping[str, Any]]) -> None:
    """A table of the outliers and of what the fibres do."""
    table = Table("muscle, joint", "model", "fibre length", "active", "outlier", title="moment arms")
    for case in CASES:
        for name, result in results.items():
            curve = result[case.title]
            low, high = curve["fibre_length_min_max"]
            said = curve["outlier"] or ("" if case.published else "not compared")
            table.add_row(case.title, name, f"{low:.2f} to {high:.2f}", f"{curve['active_fraction']:.0%}", said)
    Console().print(table)


def main() -> None:
    """Measure, print, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MUSCLEWARP_DATA", "data")), help="data root")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/moment_arms.json")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs/figures/moment_arms.png")
    arguments = parser.parse_args()
    results = {MYO: measure(load_model("myofullbody").mj_model, CASES, human=False)}
    missing: str | None = None
    try:
        results[HUMAN] = measure(load_human(arguments.data), CASES, human=True)
    except ValueError as error:  # MuJoCo's, for a file that is missing or wrong
        missing = f"{HUMAN} is not compared: {str(error).splitlines()[0].replace(str(arguments.data.resolve()), '')}"
        Console().print(missing)
    show(results)
    outliers = {
        name: {title: curve["outlier"] for title, curve in result.items() if curve["outlier"]}
        for name, result in results.items()
    }
    report = {
        "cases": [asdict(case) for case in CASES],
        "outliers": outliers,
        "missing": missing,
        "curves": results,
        "mujoco": mujoco.__version__,
    }
    write_text(arguments.json, json.dumps(report, allow_nan=False) + "\n")
    arguments.figure.parent.mkdir(parents=True, exist_ok=True)
    draw(results).savefig(arguments.figure, dpi=90)


if __name__ == "__main__":
    main()
