"""The command `musclewarp`: one subcommand per stage, from a recording to a report."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# read when torch is imported: threads that spin steal the cores from MuJoCo's
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_EPILOG = """\
from a recording to a report:
  musclewarp retarget CLIP.npz --model bimanual --out refs/
  musclewarp fit --config configs/bimanual_cpu.yaml --env.references refs/ --out runs/arms
  musclewarp evaluate runs/arms/last.ckpt --references refs/ --json out.json --video out.mp4
  musclewarp report trials/WALK.policy.trial.safetensors --experiment rajagopal2016_walk --out report/

or all of it on the bundled clip:
  musclewarp demo
"""

_REPORT_EPILOG = """\
what the laboratory's own movement asks of the model's muscles, before any policy is trained:
  musclewarp report --experiment rajagopal2016_walk --out report/

a trained policy beside the laboratory:
  musclewarp evaluate runs/walk/last.ckpt --trials trials/
  musclewarp report trials/WALK.policy.trial.safetensors --experiment rajagopal2016_walk --out report/

experiments: rajagopal2016_walk, hamner_run and bmclab_run2018 (no EMG), santuz_walk_emg (EMG only), wang2023, gait120.
r near the ceiling means: as like the measured person as one person is like another (or, where several people's mean was
measured, like their mean). comparison.csv holds the numbers of every signal, in SI units.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status (0 fine, 2 an error that is explained, 130 interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # imports of a subcommand take seconds and happen in it, so that --help does not
    if arguments[:1] == ["fit"]:
        from musclewarp import train

        return train.main(None if argv is None else arguments)
    options = _parser().parse_args(arguments)
    from musclewarp.errors import MusclewarpError
    from musclewarp.viz.headless import headless_gl

    headless_gl()  # before MuJoCo is imported, which chooses its OpenGL then

    try:
        return options.run(options)
    except MusclewarpError as error:
        print(f"musclewarp {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was written before stands", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "musclewarp",
        description="Teach muscle-driven human bodies to move like recorded people.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command("retarget", _retarget, "Fit recordings to a muscle model; what is done and unchanged is skipped.")
    text = "AMASS-layout .npz, DeepMimic clips, folders of any depth of them; OpenSim's joint angles (.sto, .mot)"
    sub.add_argument("clips", nargs="+", type=Path, metavar="PATH", help=text)
    sub.add_argument("--model", default="bimanual", help="bimanual (default), myofullbody or ms_human_700")
    sub.add_argument("--out", type=Path, default=Path("refs"), help="folder for the references (default: refs)")
    sub.add_argument("--dt", type=float, default=0.02, help="seconds between frames, the control step (default: 0.02)")
    sub.add_argument("--fingers", action="store_true", help="keep the finger joints")
    sub.add_argument("--body", default="auto", help="auto (default), smpl, smplh, smplx, stand-in, or deepmimic")
    text = "leave out the muscle activations, half of the time of a whole body"
    sub.add_argument("--no-activations", dest="activations", action="store_false", help=text)
    sub.add_argument("--workers", type=_workers, help="processes, 0.6 GB each: auto (all cores, default) or a number")
    sub.add_argument("--overwrite", action="store_true", help="replace references of other recordings, too")

    sub = commands.add_parser(
        "references",
        help="References: how good (inspect), a look (view), train and test (split), loops (loop), images (mirror).",
    )
    actions = sub.add_subparsers(dest="action", required=True, metavar="ACTION")
    text = "Print the quality of references, the worst first, what fails a bar in red."
    sub = actions.add_parser("inspect", help=text, description=text)
    sub.set_defaults(run=_inspect)
    sub.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="folders, references, or FILE.yaml:train")
    sub.add_argument("--plot", type=Path, help="write the distribution of every figure here (.png, .pdf, .svg)")
    sub.add_argument("--rows", type=int, default=20, help="how many of the worst to show (default: 20)")
    text = "Show references in a browser: body and tendons beside the recording, at any time; Ctrl-C ends it."
    sub = actions.add_parser("view", help=text, description=text)
    sub.set_defaults(run=_view)
    sub.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="folders, references, or FILE.yaml:train")
    sub.add_argument("--clip", metavar="NAME", help="the first to show: its file below the folder, without the suffix")
    sub.add_argument("--port", type=int, default=8080, help="of the page, or the next free one (default: 8080)")
    text = "Write split.yaml, for FOLDER/split.yaml:train and :test as references; parts share no subject and no clip."
    sub = actions.add_parser("split", help=text, description=text)
    sub.set_defaults(run=_split)
    sub.add_argument("folder", type=Path, help="folder of references; the subject of a clip is the folder it lies in")
    sub.add_argument(
        "--test-subjects", nargs="+", default=[], metavar="SUBJECT", help="to test with, not to learn from"
    )
    sub.add_argument("--index", type=Path, help="CSV of `clip`, `subject` and, without --test-subjects, `split`")

    text = "Write the mirror image of a reference: what was done to the left is done to the right."
    sub = actions.add_parser("mirror", help=text, description=text)
    sub.set_defaults(run=_mirror)
    sub.add_argument("reference", type=Path, help="what `musclewarp retarget` or `references loop` wrote")
    sub.add_argument("--out", type=Path, required=True, help="the file to write, NAME.ref.safetensors")

    text = "Cut the part of a reference that repeats: a loop that can be followed for ever."
    sub = actions.add_parser("loop", help=text, description=text)
    sub.set_defaults(run=_loop)
    sub.add_argument("reference", type=Path, help="what `musclewarp retarget` wrote; a little longer than a cycle")
    sub.add_argument("--out", type=Path, required=True, help="the file to write, NAME.ref.safetensors")
    text = "seconds; default: from a heel strike to the next of the same foot"
    sub.add_argument("--times", nargs=2, type=float, metavar=("START", "END"), help=text)
    sub.add_argument("--straight", action="store_true", help="take a cycle's turn out, so that it leads straight on")

    commands.add_parser("fit", help="Train a policy with PPO; `musclewarp fit --help` shows every key.")

    sub = command("evaluate", _evaluate, "Run a policy once over every clip, from its first frame, and measure.")
    sub.add_argument("policy", type=Path, help="a .ckpt of `musclewarp fit`, or a policy .safetensors")
    sub.add_argument("--references", nargs="+", type=Path, help="references (default: those it was trained on)")
    sub.add_argument("--json", type=Path, help="write the numbers here")
    sub.add_argument("--video", type=Path, help="write an mp4 of the policy's worst clip here")
    sub.add_argument("--report", type=Path, help="write a one-page HTML report here")
    sub.add_argument("--trials", type=Path, help="write every recorded episode into this folder")
    sub.add_argument("--engine", default="auto", help="auto (default), native or warp")
    sub.add_argument("--seconds", type=float, help="for which a loop is followed (default: one cycle)")
    text = "also so many episodes from random frames: how long the policy lasts (survival_s; loops for 20 s)"
    sub.add_argument("--compare-engine", metavar="ENGINE", help="the policy on this engine, too: native or warp")
    sub.add_argument("--episodes", type=int, default=0, metavar="N", help=text)
    text = "push the body about every 2 s, in random horizontal directions, with this force for this time"
    sub.add_argument("--push", nargs=2, type=float, metavar=("NEWTONS", "SECONDS"), help=text)
    sub.add_argument("--push-body", default="", metavar="NAME", help="the body that is pushed (default: the root)")

    text = "Compare a movement with a laboratory's: angles, moments, ground forces and muscles over the gait cycle."
    sub = command("report", _report, text)
    sub.formatter_class, sub.epilog = argparse.RawDescriptionHelpFormatter, _REPORT_EPILOG
    text = "*.trial.safetensors or *.ref.safetensors; without, the experiment's own kinematics are replayed"
    sub.add_argument("movement", nargs="?", type=Path, metavar="TRIAL|REFERENCE", help=text)
    sub.add_argument("--experiment", required=True, metavar="NAME", help="a folder in experimental/ of the data root")
    sub.add_argument("--out", type=Path, required=True, help="folder for report.html and comparison.csv")
    sub.add_argument("--model", default="myofullbody", help="what replays the experiment (default: myofullbody)")
    text = "low-pass of a replay's angles (default: 6, and 15 for running)"
    sub.add_argument("--cutoff-hz", type=float, metavar="HZ", help=text)
    text = "which part of an experiment that has many, such as subject=4 trial=walk_45"
    sub.add_argument("--select", nargs="+", type=_selection, default=[], metavar="KEY=VALUE", help=text)

    sub = commands.add_parser("trials", help="Recorded episodes: how solutions of one motion differ, export to peers.")
    actions = sub.add_subparsers(dest="action", required=True, metavar="ACTION")
    text = "Compare solutions of one motion: principal components and distances of activations, forces and angles."
    sub = actions.add_parser("solution-space", help=text, description=text)
    sub.set_defaults(run=_solution_space)
    sub.add_argument("solutions", nargs="*", type=Path, metavar="PATH", help="a trial, or a folder of its repetitions")
    sub.add_argument("--costs", type=Path, metavar="REFERENCE", help="add what static optimisation finds for it")
    sub.add_argument("--out", type=Path, required=True, help="folder for the tables (CSV) and figures (PNG)")
    text = "Write trials as the rollout archive (.npz) that MuscleMimic's evaluation kit, mm-evalkit, reads."
    sub = actions.add_parser("export", help=text, description=text)
    sub.set_defaults(run=_export_trials)
    sub.add_argument(
        "trials", nargs="+", type=Path, metavar="PATH", help="trials, or folders of them; one episode each"
    )
    sub.add_argument("--format", choices=["mm-evalkit"], default="mm-evalkit", help="mm-evalkit (default)")
    sub.add_argument("--out", type=Path, required=True, help="the file to write, NAME.npz")
    sub.add_argument("--motion-group", help="the kit's name of the list of motions, such as GAIT120_TESTING")
    text = "place of each episode's motion in that list (default: 0, 1, ...)"
    sub.add_argument("--motions", nargs="+", type=int, metavar="INDEX", help=text)

    sub = command("export", _export, "Write a policy for other programs: observation in, deterministic action out.")
    sub.add_argument("policy", type=Path, help="a .ckpt of `musclewarp fit`, or a policy .safetensors")
    text = "onnx, torch (a torch.export program), or safetensors with a card in JSON"
    sub.add_argument("--format", required=True, choices=["onnx", "torch", "safetensors"], help=text)
    sub.add_argument("--out", type=Path, required=True, help="the file to write: .onnx, .pt2 or .safetensors")

    sub = command("replay", _replay, "Take the step again that broke a quarantined world.")
    sub.add_argument("dump", type=Path, help="a file that training wrote when a world left the finite numbers")
    sub.add_argument("--engine", help="native or warp (default: the one it failed on)")

    sub = command("bench", _bench, "Measure the speed of engine or environment beside the simulator's bare stepping.")
    sub.add_argument("case", choices=["engine", "env"])
    sub.add_argument("--model", nargs="+", default=["bimanual"], help="bimanual (default), myofullbody")
    sub.add_argument("--fingers", action="store_true", help="with fingers and the muscles that move them")
    sub.add_argument("--worlds", type=int, nargs="+", default=[64], help="one row for each (default: 64)")
    sub.add_argument("--engine", default="auto", help="auto (default), native or warp")
    sub.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    sub.add_argument("--timestep", type=float, default=0.005, help="seconds of a physics step (default: 0.005)")
    sub.add_argument("--substeps", type=int, default=4, help="physics steps per control step (default: 4)")
    sub.add_argument("--seconds", type=float, default=20.0, help="measuring time of each row (default: 20)")
    sub.add_argument("--training", action="store_true", help="the shares of a training iteration, too")
    sub.add_argument("--json", type=Path, nargs="?", const=Path("-"), help="write JSON here; alone: to the terminal")

    sub = command("models", _models, "`models list` the models; `models check NAME` looks for flaws in one.")
    sub.add_argument("action", choices=["list", "check"])
    sub.add_argument("name", nargs="?", help="the model to check: bimanual, myofullbody or ms_human_700")
    sub.add_argument("--fingers", action="store_true", help="check it with its finger joints")
    sub.add_argument("--json", type=Path, help="write every finding here")
    sub.add_argument("--fail-on", choices=["error", "warning"], default="error", help="exit with 1 from here on")

    sub = command("demo", _demo, "Retarget the bundled clip, train, evaluate, and write a report and a video.")
    sub.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for everything (default: demo_out)")
    sub.add_argument("--minutes", type=float, help="stop training after this time instead of after its frames")
    return parser


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is neither auto nor a number of processes")
    return int(text)


def _selection(text: str) -> tuple[str, str | int | float]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise argparse.ArgumentTypeError(f"'{text}' is not KEY=VALUE")
    for number in (int, float):
        try:
            return key, number(value)
        except ValueError:
            continue
    return key, value


def _retarget(options: argparse.Namespace) -> int:
    from musclewarp.retarget.folder import Settings
    from musclewarp.retargeting import retarget_paths

    settings = Settings(options.model, options.fingers, options.dt, options.body, options.activations)
    outcomes = retarget_paths(options.clips, settings, options.out, options.workers, options.overwrite)
    return 2 if any(outcome.error for outcome in outcomes) else 0


def _inspect(options: argparse.Namespace) -> int:
    from musclewarp.inspection import inspect_references

    return inspect_references(options.paths, options.plot, options.rows)


def _view(options: argparse.Namespace) -> int:
    from musclewarp.inspection import open_viewer

    viewer = open_viewer(options.paths, options.clip, options.port)
    print(f"{viewer.url} (Ctrl-C ends it)", flush=True)
    viewer.run()
    return 0


def _split(options: argparse.Namespace) -> int:
    from musclewarp.inspection import split_references

    split_references(options.folder, options.test_subjects, options.index)
    return 0


def _mirror(options: argparse.Namespace) -> int:
    from musclewarp.inspection import mirror_file

    mirror_file(options.reference, options.out)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from musclewarp.commands import evaluate_policy

    evaluate_policy(
        options.policy,
        options.references,
        json_path=options.json,
        video_path=options.video,
        report_path=options.report,
        trials_folder=options.trials,
        engine=options.engine,
        seconds=options.seconds,
        episodes=options.episodes,
        other_engine=options.compare_engine,
        push=options.push and tuple(options.push),
        push_body=options.push_body,
    )
    return 0


def _report(options: argparse.Namespace) -> int:
    from musclewarp.reporting import report_movement

    selection = dict(options.select)
    report_movement(options.movement, options.experiment, options.out, options.model, selection, options.cutoff_hz)
    return 0


def _export(options: argparse.Namespace) -> int:
    from musclewarp.learning.export import export_policy

    difference = export_policy(options.policy, options.format, options.out)
    checked = "" if difference is None else f"; its actions differ from the policy's by {difference:.1e} at most"
    print(f"wrote {options.out}{checked}")
    return 0


def _loop(options: argparse.Namespace) -> int:
    from musclewarp.commands import loop_reference

    loop_reference(options.reference, options.out, options.times and tuple(options.times), options.straight)
    return 0


def _solution_space(options: argparse.Namespace) -> int:
    from musclewarp.trials import compare_solutions

    return compare_solutions(options.solutions, options.out, options.costs)


def _export_trials(options: argparse.Namespace) -> int:
    from musclewarp.trials import export_trials

    return export_trials(options.trials, options.out, options.motion_group, options.motions)


def _replay(options: argparse.Namespace) -> int:
    from musclewarp.commands import replay_dump

    return replay_dump(options.dump, options.engine)


def _bench(options: argparse.Namespace) -> int:
    from musclewarp.bench import bench_rows, print_rows

    rows = bench_rows(
        options.case,
        options.model,
        options.worlds,
        fingers=options.fingers,
        engine=options.engine,
        device=options.device,
        timestep=options.timestep,
        substeps=options.substeps,
        seconds=options.seconds,
        training=options.training,
    )
    print_rows(rows, options.json)
    return 0


def _models(options: argparse.Namespace) -> int:
    from musclewarp.check import check_named, list_models

    if options.action == "list":
        return list_models()
    if options.name is None:
        from musclewarp.errors import ConfigError
        from musclewarp.models import MODELS

        raise ConfigError(f"check which model? Choose one of {', '.join(MODELS)}")
    return check_named(options.name, options.fingers, options.json, options.fail_on)


def _demo(options: argparse.Namespace) -> int:
    from musclewarp.commands import run_demo

    return run_demo(options.out, options.minutes)


if __name__ == "__main__":
    sys.exit(main())
