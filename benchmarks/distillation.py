"""What lessons are worth: error without exploration against frames, of a pupil of a joint-target policy and of PPO alone.

    musclewarp fit --config configs/bimanual_targets_cpu.yaml --env.references refs/ --ppo.total_frames 61440 \
        --out runs/teacher
    python benchmarks/distillation.py refs/ --teacher runs/teacher/policy.safetensors \
        --json benchmarks/results/distillation.jsonl

The teacher's own frames are told beside, for they are spent, too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import lightning
from learning import Curve

from musclewarp.envs import EnvConfig, ImitationEnv
from musclewarp.evaluation.evaluator import policy_controller, run_trials
from musclewarp.evaluation.metrics import summarize
from musclewarp.learning import PPOConfig, load_policy
from musclewarp.learning.distillation import DistillConfig, Pupil
from musclewarp.models import PhysicsConfig


def curve(env: EnvConfig, frames: int, every: int, seed: int, distill: DistillConfig) -> list[tuple[int, float]]:
    """Frames, and relative site error in m there."""
    lightning.seed_everything(seed, verbose=False)
    measured = Curve(every)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", callbacks=[measured], **quiet)
    trainer.fit(Pupil(env, PPOConfig(total_frames=frames), distill))
    return [(done, error) for done, _, error in measured.points]


def main() -> None:
    """Train both, and say how many frames each needs to the pupil's error at the end of its lessons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("references", help="folder or file of references")
    parser.add_argument("--teacher", required=True, help="policy on joint targets")
    parser.add_argument("--lessons", type=int, default=61_440, help="frames of lessons")
    parser.add_argument("--frames", type=int, default=122_880, help="frames of lessons and PPO, and of PPO alone")
    parser.add_argument("--every", type=int, default=12_288, help="frames between evaluations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file of JSON lines to append to")
    options = parser.parse_args()
    teacher = load_policy(options.teacher)
    env = EnvConfig(teacher.env.model, options.references, physics=PhysicsConfig(0.005, 4))
    world = ImitationEnv(env, worlds=1)
    trials = run_trials(teacher.env, world.model, world.library, policy_controller(teacher), "teacher")
    row: dict[str, Any] = {"references": Path(options.references).name, "seed": options.seed, "lessons": options.lessons}
    row["teacher"] = {"frames": teacher.frames, "error_m": summarize(trials)["relative_site_error_m"]}
    print(row, flush=True)
    for name, distill in (
        ("pupil", DistillConfig(options.teacher, frames=options.lessons)),
        ("alone", DistillConfig()),
    ):
        row[name] = curve(env, options.frames, options.every, options.seed, distill)
        print(name, row[name], flush=True)
    after = next(error for frames, error in row["pupil"] if frames >= options.lessons)
    row["error_after_lessons_m"] = after
    row["frames_alone_to_it"] = next((frames for frames, error in row["alone"] if error <= after), None)
    text = json.dumps(row)
    print(text)
    if options.json:
        with options.json.open("a") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
