"""DeepMimic's clips on whole bodies of muscles: quality of the references, and a filmstrip of the wildest.

    MUSCLEWARP_DATA=DATA python benchmarks/deepmimic.py --json benchmarks/results/deepmimic.jsonl --figure strip.png

Pictures need OpenGL: without a display, MUJOCO_GL=egl.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from musclewarp.files import data_root
from musclewarp.models import load_named
from musclewarp.references.reference import SUFFIX, Reference
from musclewarp.retarget.folder import Settings
from musclewarp.retargeting import retarget_paths
from musclewarp.viz.filmstrip import filmstrip

MODELS = ("myofullbody", "ms_human_700")
SHOWN = ("humanoid3d_cartwheel", "humanoid3d_spinkick", "humanoid3d_backflip")
COLUMNS = {  # of quality.json, what a person reads, factor
    "position_rmse_m": ("RMSE, mm", 1e3),
    "coupling_residual_max": ("coupling, rad", 1.0),
    "joint_limit_violation_fraction": ("limits, %", 1e2),
    "penetration_fraction": ("in the floor, %", 1e2),
    "stance_floating_m": ("floating, mm", 1e3),
    "skate_ratio": ("skate", 1.0),
    "acceleration_ratio": ("acceleration", 1.0),
    "jerk_ratio": ("jerk", 1.0),
    "tendon_break_fraction": ("tendon breaks, %", 1e2),
}


def main() -> None:
    """Retarget all clips to both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=data_root() / "motions" / "deepmimic")
    parser.add_argument("--json", type=Path, help="file of JSON lines to write, a model each")
    parser.add_argument("--figure", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    clips, lines, strips = sorted(arguments.clips.glob("humanoid3d_*.txt")), [], []
    for name in MODELS:
        with TemporaryDirectory() as folder:
            out = Path(folder)
            retarget_paths(clips, Settings(name, activations=False), out)
            quality = json.loads((out / "quality.json").read_text())
            if arguments.figure:
                model = load_named(name)
                strips += [
                    filmstrip(model, Reference.load(next(out.rglob(f"{clip}{SUFFIX}")), model), 9, 130, 165)
                    for clip in SHOWN
                ]
        lines.append(json.dumps(quality))
        table = Table("clip", *(head for head, _ in COLUMNS.values()), title=name)
        for row in quality["clips"]:
            table.add_row(row["clip"], *(f"{factor * row[key]:.3g}" for key, (_, factor) in COLUMNS.items()))
        Console(width=150).print(table)
    if arguments.json:
        arguments.json.write_text("\n".join(lines) + "\n")
    if arguments.figure:
        picture = Image.fromarray(np.concatenate(strips))
        picture.quantize(64, dither=Image.Dither.NONE).save(arguments.figure, optimize=True)


if __name__ == "__main__":
    main()
