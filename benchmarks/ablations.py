"""What each part of the learner is worth: error without exploration against frames, for several settings and seeds.

    python benchmarks/ablations.py refs/ --seeds 0 1 2 --json benchmarks/results/ablations.jsonl
    python benchmarks/ablations.py refs/ --only default muon --plot docs/figures/ablations.png
    python benchmarks/ablations.py refs/ --only default pupil "quiet pupil" --teacher targets.safetensors \
        --frames 122880 --every 12288 --json benchmarks/results/distillation.jsonl

Each row trains once and evaluates the policy, its noise off, over all clips between updates; the clock stops
meanwhile. Rows that the file has already (same settings, seed, clips and frames) are not trained again, so a run that
was stopped goes on. Several of them may write to one file, each with its own seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from musclewarp.envs import EnvConfig
from musclewarp.evaluation.evaluator import policy_controller, run_trials
from musclewarp.evaluation.metrics import summarize
from musclewarp.learning import PPO, Policy, PPOConfig
from musclewarp.learning.distillation import DistillConfig, Pupil
from musclewarp.learning.policy import parse_config
from musclewarp.references.library import find_references

Row = dict[str, Any]
Choice = dict[str, dict[str, Any]]
# against the defaults, by the part of the config; "distill" is that of the lessons
CHOICES: dict[str, Choice] = {
    "default": {},
    "1 epoch": {"ppo": {"epochs": 1}},
    "10 epochs": {"ppo": {"epochs": 10}},
    "minibatch 128": {"ppo": {"minibatch": 128}},
    "minibatch 3072": {"ppo": {"minibatch": 3072}},
    "gamma 0.97": {"ppo": {"gamma": 0.97}},
    "beta": {"ppo": {"distribution": "beta"}},
    "joint targets": {"ppo": {"initial_std": 0.2, "final_std": 0.1}, "env": {"control": {"mode": "joint_targets"}}},
    "symmetry": {"ppo": {"symmetry": "augment"}},
    "muon": {"ppo": {"optimizer": "muon"}},
}
MORE: dict[str, Choice] = {
    "learned std": {"ppo": {"learn_std": True}},
    "correlated": {"ppo": {"noise_correlation": 0.5}},
    "remembered": {"ppo": {"noise_memory": 0.1}},
    "residual": {"ppo": {"residual": True, "hidden": (256, 256, 256)}},
    "deeper": {"ppo": {"hidden": (256, 256, 256)}},
    "values": {"ppo": {"normalize_values": True}},
    "kl stop": {"ppo": {"epochs": 6, "kl_stop": 1.0}},
    "no reflex": {"ppo": {"reflex": 0.0}},
    "quiet": {"ppo": {"initial_std": 0.2, "final_std": 0.1}},
    "pupil": {"distill": {"frames": 61_440}},
    "quiet pupil": {"distill": {"frames": 61_440}, "ppo": {"initial_std": 0.2, "final_std": 0.1}},
}
TARGET = 0.02  # m


class Curve(lightning.Callback):
    """Evaluates between updates; `points` are (frames, s of training, relative site error in m)."""

    def __init__(self, every: int) -> None:
        self.every, self.points, self._seconds = every, [], 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Before learning."""
        self._measure(pl_module)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Every so many frames."""
        assert isinstance(pl_module, PPO)
        if pl_module.frames // self.every > self.points[-1][0] // self.every:
            self._seconds += time.perf_counter() - self._since
            self._measure(pl_module)

    def _measure(self, module: Any) -> None:
        env, generator = module.env, torch.get_rng_state()
        policy = Policy(module.actor, module.env_config, module.config, module.sizes, env.model.hash, module.frames)
        module.actor.eval()
        trials = run_trials(module.env_config, env.model, env.library, policy_controller(policy), "policy")
        module.actor.train()
        torch.set_rng_state(generator)
        error = float(str(summarize(trials)["relative_site_error_m"]))
        self.points.append((module.frames, self._seconds, error))
        self._since = time.perf_counter()


def train(settings: Choice, references: str, teacher: str, seed: int, frames: int, every: int) -> Row:
    """One training; its curve, and when the error first was `TARGET`."""
    env = parse_config(EnvConfig, {"references": references, **settings["env"]})
    ppo = PPOConfig(total_frames=frames, **settings.get("ppo", {}))
    lessons = DistillConfig(teacher, **settings["distill"]) if "distill" in settings else None
    lightning.seed_everything(seed, verbose=False)
    curve = Curve(every)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", callbacks=[curve], **quiet)
    trainer.fit(Pupil(env, ppo, lessons))
    reached = next(((f, s / 60) for f, s, error in curve.points if error <= TARGET), (None, None))
    return {
        "points": curve.points,
        "final_m": curve.points[-1][2],
        "frames_to_2cm": reached[0],
        "minutes_to_2cm": reached[1],
    }


def key_of(row: Row) -> str:
    """What makes a row another experiment."""
    return json.dumps([row[key] for key in ("settings", "seed", "clips", "total_frames")], sort_keys=True)


def print_table(rows: Iterable[Row]) -> None:
    """Medians over the seeds."""
    table = Table("choice", "seeds", "frames to 2 cm", "minutes to 2 cm", "final error, cm", "from", "to", "frames/s")
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["choice"], []).append(row)
    for choice, group in groups.items():
        final = [100 * row["final_m"] for row in group]
        reached = [
            [np.inf if row[name] is None else row[name] for row in group]
            for name in ("frames_to_2cm", "minutes_to_2cm")
        ]
        speed = np.median([row["points"][-1][0] / row["points"][-1][1] for row in group])
        table.add_row(
            choice,
            str(len(group)),
            f"{np.median(reached[0]):,.0f}",
            f"{np.median(reached[1]):.1f}",
            *(f"{value:.2f}" for value in (np.median(final), min(final), max(final))),
            f"{speed:,.0f}",
        )
    Console().print(table)


def plot(rows: Iterable[Row], path: Path) -> None:
    """Error against frames: the median of the seeds, and their range."""
    import matplotlib.pyplot as plt

    groups: dict[str, list[np.ndarray]] = {}
    for row in rows:
        groups.setdefault(row["choice"], []).append(np.array(row["points"]))
    columns = 4
    figure, axes = plt.subplots(
        -(-len(groups) // columns), columns, figsize=(11, 2.2 * -(-len(groups) // columns)), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    reference = groups.get("default")
    for axis, (choice, curves) in zip(axes.flat, groups.items(), strict=False):
        for group, colour in ((reference, "0.6"), (curves, "#0072b2")):
            if group is not None:
                errors = 100 * np.stack([curve[:, 2] for curve in group])
                frames = group[0][:, 0] / 1e6
                axis.plot(frames, np.median(errors, axis=0), color=colour)
                axis.fill_between(frames, errors.min(axis=0), errors.max(axis=0), color=colour, alpha=0.25, lw=0)
        axis.set_title(choice, fontsize=9)
        axis.set_yscale("log")
    for axis in list(axes.flat)[len(groups) :]:
        axis.set_axis_off()
    figure.supxlabel("frames, million (grey: default)")
    figure.supylabel("relative site error, cm")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train what is asked for and not yet known."""
    known_choices = CHOICES | MORE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("references", help="folder or file of references")
    parser.add_argument("--env", default="{}", help="changes of the task, as JSON")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=known_choices,
        metavar="SETTING",
        help="default: the first ten of the list at the top",
    )
    parser.add_argument("--teacher", default="", help="policy on joint targets that pupils learn from")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--frames", type=int, default=300_000)
    parser.add_argument("--every", type=int, default=30_000, help="frames between evaluations")
    parser.add_argument("--json", type=Path, help="file of JSON lines to append to")
    parser.add_argument("--plot", type=Path, help="draw the rows of the file")
    arguments = parser.parse_args()
    chosen: dict[str, Choice] = {name: known_choices[name] for name in arguments.only or CHOICES}
    if not arguments.teacher and any("distill" in choice for choice in chosen.values()):
        parser.error("pupils need a --teacher")
    lines = arguments.json.read_text().splitlines() if arguments.json and arguments.json.exists() else []
    rows = [json.loads(line) for line in lines]
    known = {key_of(row) for row in rows}
    clips = {path.stem: sha256(path.read_bytes()).hexdigest()[:12] for path in find_references(arguments.references)}
    clips = " ".join(f"{name}:{digest}" for name, digest in sorted(clips.items()))
    for seed in arguments.seeds:
        for name, choice in chosen.items():
            settings = {**choice, "env": {**json.loads(arguments.env), **choice.get("env", {})}}
            row: Row = {"choice": name, "seed": seed, "references": Path(arguments.references).name, "clips": clips}
            row |= {"settings": settings, "total_frames": arguments.frames, "torch": version("torch")}
            if key_of(row) in known:
                continue
            row |= train(settings, arguments.references, arguments.teacher, seed, arguments.frames, arguments.every)
            print(f"{name}, seed {seed}: {100 * row['final_m']:.2f} cm after {row['points'][-1][1]:.0f} s", flush=True)
            rows.append(row)
            if arguments.json:
                with arguments.json.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print_table(rows)
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
