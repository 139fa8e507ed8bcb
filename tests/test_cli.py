"""The command line: what a user is told for bad input, and what stands afterwards.

`python -m pytest tests/test_cli.py -k bad -s` prints every message.
"""

from __future__ import annotations

import csv
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musclewarp import commands, models, retargeting
from musclewarp.cli import main
from musclewarp.envs import EnvConfig, imitation
from musclewarp.evaluation.trial import Trial
from musclewarp.learning.policy import load_policy
from musclewarp.models import PhysicsConfig, load_model
from musclewarp.motion.amass import read_amass, write_amass
from musclewarp.references import Reference, make_reference
from musclewarp.references.manifest import MANIFEST
from musclewarp.references.reference import SUFFIX
from musclewarp.retarget import folder

ROOT = Path(__file__).resolve().parents[1]
ARMS = ROOT / "data" / "motions" / "demo" / "arms.npz"
TINY = ["--env.num_worlds=2", "--env.engine=native", "--ppo.hidden=[4]", "--ppo.horizon=2", "--ppo.total_frames=8"]
TINY += ["--ppo.minibatch=4", "--trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def quick_load():
    """`load_model` that compiles each model once."""
    return functools.cache(load_model)


@pytest.fixture(autouse=True)
def quiet(quick_load, monkeypatch, tmp_path):
    """Every test in a folder of its own, with models that are compiled once."""
    monkeypatch.chdir(tmp_path)
    for module in (commands, folder, imitation, models):
        monkeypatch.setattr(module, "load_model", quick_load)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, quick_load):
    """Good files, and ways to spoil them: `workshop / refs`, `slow`, `legs`, `run`, and clips."""
    folder = tmp_path_factory.mktemp("workshop")
    arms = quick_load("bimanual", False, PhysicsConfig())
    qpos = np.tile(arms.mj_model.qpos0, (20, 1))
    qpos[:, arms.joint_qpos] += 0.1 * np.sin(np.linspace(0, 2, 20))[:, None]
    make_reference(arms, qpos, 0.02, "wave").save(folder / "refs" / f"wave{SUFFIX}")
    make_reference(arms, qpos, 0.01, "wave").save(folder / "slow" / f"wave{SUFFIX}")
    whole = quick_load("myofullbody", False, PhysicsConfig())
    make_reference(whole, np.tile(whole.mj_model.qpos0, (5, 1)), 0.02, "stand").save(folder / "legs" / f"stand{SUFFIX}")
    with np.load(ARMS) as clip:
        arrays = dict(clip)
    np.savez(folder / "wide.npz", **arrays | {"poses": arrays["poses"][:, :100]})
    poses = arrays["poses"].copy()
    poses[7, 4] = np.nan
    np.savez(folder / "nan.npz", **arrays | {"poses": poses})
    (folder / "cut.npz").write_bytes(ARMS.read_bytes()[:5000])
    (folder / "key.yaml").write_text("env:\n  num_wolds: 3\n")
    (folder / "term.yaml").write_text("env:\n  rewards: {site_posiiton: {weight: 1.0, scale: 0.1}}\n")
    (folder / "broken.yaml").write_text("env: [\n")
    (folder / "split.yaml").write_text("train: {A: [a]}\ntest: {A: [b]}\n")
    assert main(["fit", *TINY, f"--env.references={folder / 'refs'}", f"--out={folder / 'run'}"]) == 0
    shutil.copy(folder / "run" / "last.ckpt", folder / "copy.ckpt")
    (folder / "ruin").mkdir()
    (folder / "ruin" / "last.ckpt").write_bytes(b"PK")
    (folder / "cut.ckpt").write_bytes((folder / "run" / "last.ckpt").read_bytes()[:3000])
    return folder


BAD = {  # what is wrong: the arguments, with files of the workshop in {braces}, and what the message must say
    "clip that is missing": (["retarget", "{no.npz}"], ["no.npz", "no such file"]),
    "clip with poses of a wrong width": (["retarget", "{wide.npz}"], ["wide.npz", "100 wide", "156 (SMPL-H)"]),
    "clip with a NaN": (["retarget", "{nan.npz}"], ["nan.npz", "nan", "frame 7, joint 1 (left_hip)"]),
    "clip that is truncated": (["retarget", "{cut.npz}"], ["cut.npz", "truncated"]),
    "model that is unknown": (["retarget", str(ARMS), "--model", "biped"], ["'biped'", "bimanual, myofullbody"]),
    "control step that is no number": (["retarget", str(ARMS), "--dt", "fast"], ["--dt", "'fast'"]),
    "control step that is negative": (["retarget", str(ARMS), "--dt=-1"], ["--dt is -1.0 s", "control step"]),
    "number of processes that is none": (["retarget", str(ARMS), "--workers", "0"], ["--workers", "'0'", "auto"]),
    "folder without recordings": (["retarget", "{refs}"], ["refs: no recordings", ".npz"]),
    "split file without a part": (["fit", *TINY, "--env.references={split.yaml}"], ["which part?", "split.yaml:train"]),
    "split file that leaks": (["fit", *TINY, "--env.references={split.yaml}:train"], ["share the subject 'A'"]),
    "references to inspect that are missing": (["references", "inspect", "{no}"], ["no:", "musclewarp retarget"]),
    "references that are missing": (["fit", *TINY, "--env.references={no}"], ["no:", "musclewarp retarget"]),
    "references folder that is empty": (
        ["fit", *TINY, "--env.references={run}"],
        ["run", SUFFIX, "musclewarp retarget"],
    ),
    "references of the other model": (
        ["fit", *TINY, "--env.references={legs}"],
        ["stand", "'myofullbody'", "'bimanual'"],
    ),
    "references at another rate": (["fit", *TINY, "--env.references={slow}"], ["0.01 s", "0.02 s", "--dt 0.02"]),
    "key that is unknown, in a file": (
        ["fit", "--config", "{key.yaml}"],
        ["key.yaml", "env.num_wolds", "did you mean 'env.num_worlds'", "fit --help"],
    ),
    "key that is unknown, typed": (["fit", *TINY, "--ppo.gama", "1"], ["--ppo.gama", "did you mean 'ppo.gamma'"]),
    "term that is unknown": (["fit", "--config", "{term.yaml}"], ["env.rewards", "site_posiiton", "'site_position'"]),
    "number that is out of range": (["fit", *TINY, "--env.num_worlds=0"], ["env.num_worlds is 0", "at least 1"]),
    "teacher that is missing": (
        ["fit", *TINY, "--env.references={refs}", "--distill.teacher={no.ckpt}"],
        ["no.ckpt", "no such file"],
    ),
    "lessons without a teacher": (["fit", *TINY, "--distill.frames=9"], ["distill.frames is 9", "distill.teacher"]),
    "number that is a word": (["fit", *TINY, "--ppo.gamma=much"], ["ppo.gamma", "much", "float"]),
    "config that is missing": (["fit", "--config", "{no.yaml}"], ["no.yaml", "not exist"]),
    "config that is not YAML": (["fit", "--config", "{broken.yaml}"], ["broken.yaml"]),
    "checkpoint to resume that is missing": (["fit", *TINY, "--ckpt_path={no.ckpt}"], ["no.ckpt", "no such file"]),
    "checkpoint to resume that is truncated": (
        ["fit", *TINY, "--ckpt_path={cut.ckpt}"],
        ["cut.ckpt", "truncated"],
    ),
    "policy to resume, which is no checkpoint": (
        ["fit", *TINY, "--ckpt_path={run/policy.safetensors}", "--out={run}"],
        ["policy.safetensors", "cannot be resumed", "last.ckpt"],
    ),
    "folder of a run of which nothing can be read": (["fit", *TINY, "--out={ruin}"], ["ruin/last.ckpt", "truncated"]),
    "accelerator that is not there": (
        ["fit", *TINY, "--trainer.accelerator=tpu"],
        ["trainer.accelerator is tpu", "torch_xla"],
    ),
    "accelerator that nobody knows": (
        ["fit", *TINY, "--trainer.accelerator=cpuu"],
        ["trainer.accelerator is cpuu", "auto"],
    ),
    "strategy that nobody knows": (["fit", *TINY, "--trainer.strategy=foo"], ["trainer.strategy is foo", "ddp"]),
    "no devices": (["fit", *TINY, "--trainer.devices=0"], ["trainer.devices is 0"]),
    "time that is none": (["fit", *TINY, "--trainer.max_time=1h"], ["trainer", "'1h'", "DD:HH:MM:SS"]),
    "profiler that nobody knows": (["fit", *TINY, "--trainer.profiler=foo"], ["trainer: ", "`profiler`", "simple"]),
    "epochs instead of frames": (["fit", *TINY, "--trainer.max_epochs=3"], ["max_epochs is 3", "ppo.total_frames"]),
    "Lightning's clipping": (
        ["fit", *TINY, "--trainer.gradient_clip_val=1"],
        ["gradient_clip_val", "ppo.max_grad_norm"],
    ),
    "seed that is negative": (["fit", *TINY, "--seed_everything=-3"], ["seed_everything is -3"]),
    "checkpoints that are never kept": (["fit", *TINY, "--checkpoint.keep=0"], ["checkpoint.keep is 0", "at least 1"]),
    "key of the checkpoints": (["fit", *TINY, "--checkpoint.minuts=1"], ["did you mean 'checkpoint.minutes'"]),
    "folder that holds another run than the resumed one": (
        ["fit", *TINY, "--env.references={refs}", "--out={run}", "--ckpt_path={copy.ckpt}"],
        ["run/last.ckpt exists", "--ckpt_path", "another --out"],
    ),
    "reward without a scale": (
        ["fit", *TINY, '--env.rewards={"joint_position": {"weight": 1}}'],
        ["scale", "required"],
    ),
    "termination that is not a number": (
        ["fit", *TINY, "--env.terminations={site_deviation: .nan}"],
        ["env.terminations.site_deviation is nan"],
    ),
    "learning rate outside its bounds": (
        ["fit", *TINY, "--ppo.learning_rate=0.1"],
        ["ppo.learning_rate is 0.1", "ppo.learning_rate_bounds"],
    ),
    "checkpoint that is missing": (["evaluate", "{no.ckpt}"], ["no.ckpt", "no such file", "musclewarp fit"]),
    "checkpoint that is truncated": (["evaluate", "{cut.ckpt}"], ["cut.ckpt", "truncated"]),
    "references of the other model, to evaluate on": (
        ["evaluate", "{run/last.ckpt}", "--references", "{legs}"],
        ["stand", "'myofullbody'", "'bimanual'"],
    ),
    "engine that is unknown": (["evaluate", "{run/last.ckpt}", "--engine", "unreal"], ["'unreal'", "native, warp"]),
    "dump that is a policy": (["replay", "{run/policy.safetensors}"], ["policy.safetensors", "'quarantined world'"]),
    "model that cannot be measured": (["bench", "env", "--model", "biped"], ["'biped'", "bimanual, myofullbody"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line_and_status_2(case, workshop, capfd, recwarn):
    arguments, says = BAD[case]
    filled = [re.sub(r"{([\w./]+)}", rf"{workshop}/\1", text) for text in arguments]
    capfd.readouterr()
    try:
        status = main(filled)
    except SystemExit as error:  # argparse's own
        status = error.code
    captured = capfd.readouterr()
    lines = [line for line in captured.err.splitlines() if line and not line.startswith(("usage:", " "))]
    lines = [line for line in lines if "Seed set to" not in line]
    message = lines[-1] if lines else ""
    with capfd.disabled():
        print(f"\n{case}\n    {message.replace(str(workshop), '...')}")
    assert status == 2
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.out + captured.err
    for text in says:
        assert text in message
    assert len(message) < 400


RESUMED = {  # one changed argument: what refuses to resume into the same folder, or nothing if training goes on
    "--ppo.kl_target=0.2": "",
    "--ppo.minibatch=2": "",
    "--ppo.horizon=4": "",
    "--env.num_worlds=1": "",
    "--env.episode_seconds=0.2": "",
    "--env.terminations={site_deviation: 0.5}": "",
    "--env.rewards={site_position: {weight: 1, scale: 0.1}}": "",
    "--seed_everything=3": "",
    "--trainer.max_time=00:01:00:00": "",
    "--ppo.hidden=[8]": "ppo.hidden is [8], but the checkpoint has learned with [4]",
    "--ppo.learn_std=true": "ppo.learn_std is true, but",
    "--ppo.gamma=0.5": "ppo.gamma is 0.5, but the checkpoint has learned with 0.9",
    "--ppo.initial_excitation=0.2": "ppo.initial_excitation is 0.2; leave it out with 'reference_activation'",
    "--env.lookahead=[2,6,16]": "env.lookahead is [2, 6, 16], but the checkpoint has learned with [1, 3, 8]",
    "--env.observations=[joint_vel,joint_pos]": "env.observations is ",
    "--env.physics={timestep: 0.005, substeps: 4}": "env.physics is ",
    "--distill.teacher=late.safetensors": "distill.teacher is 'late.safetensors', but",
    "--env.fingers=true": "'bimanual'",
    "--env.model=myofullbody": "'myofullbody'",
    "--env.engine=unreal": "'unreal'",
    "--env.references=nowhere": "nowhere: ",
    "--env.references={legs}": "'myofullbody'",
}


@pytest.mark.parametrize("change", RESUMED)
def test_a_run_goes_on_in_its_folder_with_one_changed_key_or_is_refused_and_changes_no_file(
    change, workshop, tmp_path, capfd
):
    folder = tmp_path / "run"
    shutil.copytree(workshop / "run", folder)
    files = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {"last.ckpt", "policy.safetensors", "metrics.csv", "config.yaml"} <= {path.name for path in files}
    arguments = ["fit", *TINY, f"--env.references={workshop / 'refs'}", f"--out={folder}", "--ppo.total_frames=32"]
    arguments += [change.replace("{legs}", str(workshop / "legs"))]
    capfd.readouterr()
    assert main(arguments) == (2 if RESUMED[change] else 0)
    if RESUMED[change]:
        lines = [line for line in capfd.readouterr().err.splitlines() if line and "Seed set to" not in line]
        assert len(lines) == 1, lines
        assert lines[0].startswith("musclewarp fit: ")
        assert RESUMED[change] in lines[0]
        assert {path: path.read_bytes() for path in files} == files
    else:
        updates = torch.load(folder / "last.ckpt", weights_only=True)["musclewarp"]["updates"]
        with open(folder / "metrics.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert updates > 2
        assert [int(row["step"]) for row in rows] == list(range(1, updates + 1))
        assert int(float(rows[-1]["frames"])) == 32
        assert (folder / "metrics.csv").read_bytes().startswith(files[folder / "metrics.csv"])
        key = change.split("=")[0].removeprefix("--")
        said = capfd.readouterr().out.splitlines()[0]
        assert said.startswith(f"going on from {folder / 'last.ckpt'}, after 8 frames; changed since: ")
        assert key in said or key.startswith(("seed", "trainer"))


def test_a_pupil_is_taught_and_then_goes_on_alone(workshop, tmp_path):
    common = ["fit", *TINY, f"--env.references={workshop / 'refs'}"]
    assert main([*common, f"--out={tmp_path / 'teacher'}", "--env.control.mode=joint_targets"]) == 0
    teacher = tmp_path / "teacher" / "policy.safetensors"
    assert main([*common, f"--out={tmp_path}", f"--distill.teacher={teacher}", "--distill.frames=4"]) == 0
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["teacher_error"]) for row in rows] == [True, False]
    assert [bool(row["kl"]) for row in rows] == [False, True]
    policy = load_policy(tmp_path / "policy.safetensors")
    assert (policy.env.control.mode, policy.frames) == ("excitations", 8)


def test_a_run_whose_last_checkpoint_is_truncated_goes_on_from_the_one_before(workshop, tmp_path, capfd):
    arguments = ["fit", *TINY, f"--env.references={workshop / 'refs'}", f"--out={tmp_path}", "--checkpoint.frames=1"]
    assert main(arguments) == 0
    last, before = tmp_path / "last.ckpt", tmp_path / "last.1.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    capfd.readouterr()
    with pytest.warns(UserWarning, match=rf"{last}: .*truncated.*older {before}"):
        assert main(arguments) == 0
    assert f"going on from {before}, after 4 frames" in capfd.readouterr().out
    assert torch.load(last, weights_only=True)["musclewarp"]["frames"] == 8


def test_a_finished_run_says_so_and_changes_nothing(workshop, tmp_path, capfd):
    folder = tmp_path / "run"
    shutil.copytree(workshop / "run", folder)
    before = (folder / "last.ckpt").read_bytes()
    assert main(["fit", *TINY, f"--env.references={workshop / 'refs'}", f"--out={folder}"]) == 0
    assert "no frames are left to learn from: raise ppo.total_frames" in capfd.readouterr().out
    assert (folder / "last.ckpt").read_bytes() == before


def test_a_reward_is_never_given_a_scale_that_nobody_wrote(tmp_path, workshop):
    out = tmp_path / "run"
    term = '--env.rewards={"site_position": {"weight": 1}}'
    assert main(["fit", *TINY, f"--env.references={workshop / 'refs'}", f"--out={out}", term]) == 0
    # on the command line it is a change of the default's weight, as `--env.rewards.site_position.weight 1` is
    (reward,) = load_policy(out / "policy.safetensors").env.rewards.values()
    assert reward == replace(EnvConfig().rewards["site_position"], weight=1.0)


def test_a_demo_goes_on_with_the_training_that_was_interrupted(tmp_path, monkeypatch):
    started = []

    def start(command, check):
        started.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(commands, "retarget_paths", lambda *arguments, **options: [])
    monkeypatch.setattr(commands.subprocess, "run", start)
    assert commands.run_demo(tmp_path) == 1
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.ckpt").touch()
    assert commands.run_demo(tmp_path) == 1
    first, second = started
    assert second == first, "whose --out tells where the run lies"


def run(*arguments):
    """The command in a process of its own."""
    # without coverage's trace, and without what a launcher around this test may have said
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("LT_", "PYTEST_", "COVERAGE_"))}
    return subprocess.run(
        [sys.executable, "-m", "musclewarp.cli", *map(str, arguments)],
        env=environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_a_misspelled_key_shows_no_traceback_in_a_process_of_its_own(workshop):
    done = run("fit", "--config", workshop / "key.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("musclewarp fit: ")


@pytest.mark.parametrize(
    "command",
    [[], ["retarget"], ["references"], ["references", "split"], ["evaluate"], ["replay"], ["bench"], ["demo"]],
)
def test_help_says_what_a_command_does(command, capsys):
    with pytest.raises(SystemExit) as leaving:
        main([*command, "--help"])
    assert leaving.value.code == 0
    assert "usage: musclewarp" in (text := capsys.readouterr().out)
    assert len(text.splitlines()) > 5


def test_help_of_fit_shows_the_keys_of_task_and_learner(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["fit", "--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert "--env.num_worlds" in text
    assert "--ppo.gamma" in text


def test_help_is_quick_for_it_imports_neither_torch_nor_mujoco():
    code = """
import contextlib, sys, time
from musclewarp.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
print(time.process_time(), {"torch", "mujoco", "lightning"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    seconds, imported = done.stdout.splitlines()[-1].split(" ", 1)
    assert float(seconds) < 1.0
    assert imported == "set()"


def test_a_bad_clip_does_not_stop_the_good_one(workshop, tmp_path, capsys):
    with np.load(ARMS) as clip:
        short = {key: value[:120] if key in ("poses", "trans") else value for key, value in clip.items()}
    np.savez(tmp_path / "short.npz", **short)
    clips = [str(workshop / "nan.npz"), str(tmp_path / "short.npz")]
    assert main(["retarget", *clips, "--out", str(tmp_path / "o"), "--workers", "1"]) == 2
    assert {path.name for path in (tmp_path / "o").iterdir()} == {f"short{SUFFIX}", MANIFEST, "quality.json"}
    said = capsys.readouterr().err
    assert "nan.npz" in said
    assert f"1 made, 1 failed; see {tmp_path / 'o' / MANIFEST}" in said
    rows = [json.loads(line) for line in (tmp_path / "o" / MANIFEST).read_text().splitlines()]
    assert rows[0]["quality"]["target_rmse_m"] < 0.05
    assert "left_hip" in rows[1]["error"]
    [row] = json.loads((tmp_path / "o" / "quality.json").read_text())
    assert row["clip"] == "short"
    assert row["coupling_residual_max"] < 1e-9
    assert row["frames_per_s"] > 0
    assert row["skate_mps"] is None  # arms do not walk
    assert read_amass(tmp_path / "short.npz").num_frames == 120


def test_clips_of_the_same_name_are_refused_before_any_is_retargeted(tmp_path, capsys):
    clips = [tmp_path / folder / "arms.npz" for folder in ("monday", "tuesday")]
    for clip in clips:
        clip.parent.mkdir()
        clip.write_bytes(ARMS.read_bytes())
    assert main(["retarget", *map(str, clips), "--out", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().err
    assert all(str(clip) in said for clip in clips)
    assert not (tmp_path / "o").exists()


def test_a_reference_of_another_recording_is_replaced_only_when_asked_to(workshop, tmp_path, monkeypatch, capsys):
    def make(motion, model, dt, body, activations):
        made.append(motion.source["sha256"])
        qpos = np.tile(model.mj_model.qpos0, (2, 1))
        source = {**motion.source, "body": body.name}
        reference = make_reference(model, qpos, dt, motion.name, source=source)
        return replace(reference, quality={"target_rmse_m": 0.0})

    made, path = [], tmp_path / "o" / f"arms{SUFFIX}"
    monkeypatch.setattr(folder, "retarget", make)
    write_amass(tmp_path / "arms.npz", read_amass(ARMS).clip(0, 60))
    retarget = ["retarget", "--out", str(tmp_path / "o")]
    assert main([*retarget, str(ARMS)]) == 0
    assert main([*retarget, str(ARMS)]) == 0, "the same recording is done"
    assert "1 done before" in capsys.readouterr().err
    first = path.read_bytes()
    assert main([*retarget, str(tmp_path / "arms.npz")]) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert "--overwrite" in said
    assert path.read_bytes() == first
    assert main([*retarget, str(tmp_path / "arms.npz"), "--overwrite"]) == 0
    assert len(set(made)) == 2
    path.write_bytes(path.read_bytes()[:100])
    assert main([*retarget, str(ARMS)]) == 0, "what can no longer be read protects nothing"
    assert path.read_bytes() == first


def test_a_loop_is_cut_from_a_reference_and_followed_for_as_long_as_asked(workshop, tmp_path, capsys):
    out = tmp_path / "loops" / f"round{SUFFIX}"
    wave = workshop / "refs" / f"wave{SUFFIX}"
    assert main(["references", "loop", str(wave), "--out", str(out), "--times", "0.06", "0.3"]) == 0
    assert "0.24 s, from 0.06 to 0.30 s of 'wave'" in capsys.readouterr().out
    assert Reference.load(out).loop
    assert "seam_mismatch_m" in Reference.load(out).quality
    arguments = ["evaluate", str(workshop / "run" / "last.ckpt"), "--references", str(out), "--engine", "native"]
    assert main([*arguments, "--seconds", "0.5", "--trials", str(tmp_path / "trials")]) == 0
    assert {Trial.load(path).num_frames for path in (tmp_path / "trials").iterdir()} == {26}


def test_a_logger_that_is_named_takes_the_place_of_the_usual_ones(workshop, tmp_path):
    arguments = ["fit", *TINY, f"--env.references={workshop / 'refs'}", f"--out={tmp_path / 'run'}"]
    assert main([*arguments, "--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path / 'mine'}"]) == 0
    assert len(list((tmp_path / "mine").rglob("metrics.csv"))) == 1
    assert not list((tmp_path / "run").glob("events.*"))


def test_evaluate_writes_the_numbers_and_the_trials(workshop, tmp_path, capsys):
    arguments = ["evaluate", workshop / "run" / "policy.safetensors", "--references", workshop / "refs"]
    arguments += ["--json", tmp_path / "o.json", "--trials", tmp_path / "trials"]
    assert main([str(part) for part in arguments]) == 0
    result = json.loads((tmp_path / "o.json").read_text())
    assert set(result) == {"policy", "untrained", "zero_excitation", "clips"}
    assert len(list((tmp_path / "trials").iterdir())) == 3
    shown = capsys.readouterr().out
    assert f"{100 * result['policy']['relative_site_error_m']:.2f}" in shown


def test_evaluate_pushes_and_starts_anywhere_and_elsewhere(workshop, tmp_path, capsys):
    arguments = ["evaluate", workshop / "run" / "policy.safetensors", "--references", workshop / "refs"]
    arguments += ["--json", tmp_path / "o.json", "--episodes", "3", "--compare-engine", "native"]
    arguments += ["--push", "50", "0.2", "--push-body", "humerus_r"]
    assert main([str(part) for part in arguments]) == 0
    result = json.loads((tmp_path / "o.json").read_text())
    assert result["pushes"] == {"force": [50.0, 50.0], "seconds": 0.2, "interval": 2.0, "body": "humerus_r"}
    assert result["episodes"]["number"] == 3
    assert result["other_engine"]["engine"] == "native"
    assert f"lasts {result['policy']['survival_s']:.2f} s (policy)" in capsys.readouterr().out.replace("\n", " ")


def test_fit_keeps_broken_worlds_beside_its_checkpoints(workshop):
    config = load_policy(workshop / "run" / "policy.safetensors").env
    assert Path(config.dump_folder) == workshop / "run" / "quarantine"


def test_a_policy_of_another_body_is_refused(workshop, tmp_path, capsys):
    policy = load_policy(workshop / "run" / "policy.safetensors")
    other = replace(policy, model_hash="0" * 64).save(tmp_path / "other.safetensors")
    assert main(["evaluate", str(other)]) == 2
    assert "another version of 'bimanual'" in capsys.readouterr().err


def test_ctrl_c_is_status_130(monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(retargeting, "retarget_clips", interrupt)
    assert main(["retarget", "a.npz"]) == 130
    assert "interrupted" in capsys.readouterr().err
