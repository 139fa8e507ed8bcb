"""Policies for other programs: one file from observation to deterministic action, and what its numbers are called.

The normaliser and the map to actions are inside. Every format carries the same card, as JSON: model and its hash, names
and sizes of the observation's terms, names of the actions, what was learned from, and how well it did.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import nn
from torchrl.envs.utils import ExplorationType, set_exploration_type

from musclewarp.envs import EnvConfig, ImitationEnv
from musclewarp.errors import ConfigError, FileError
from musclewarp.files import HEADER_KEY, write_atomically, write_text
from musclewarp.learning.policy import Policy, load_policy
from musclewarp.models import MuscleModel, load_model
from musclewarp.references import make_reference
from musclewarp.references.library import ReferenceLibrary, find_references
from musclewarp.references.reference import read_reference_header

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}
TOLERANCE = 1e-5
"""Largest difference of an action to the policy's own that an export may show."""
_ONNX = ("onnx", "onnxruntime", "onnxscript")

Actions = Callable[[torch.Tensor], torch.Tensor]


class DeterministicPolicy(nn.Module):
    """Observations `(N, D)` to deterministic actions `(N, A)`, without tensordicts and without exploration."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.head = policy.actor.module[0].module

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """The action."""
        return self.head.deterministic(self.head(observation)[0])


def export_policy(source: str | Path, kind: str, out: str | Path) -> float | None:
    """Write the policy of a checkpoint or a policy file in another format, and compare the two.

    Args:
        source: `.ckpt` or `.safetensors`.
        kind: "onnx"; "torch" (a `torch.export` program, which loads without musclewarp); or "safetensors" (which
            musclewarp reads), with its card beside it in a `.json`.
        out: file to write.

    Returns:
        The largest difference between an action of the file and of the policy; None for safetensors, which is a copy.

    Raises:
        ConfigError: `out` has another suffix than the format's, or a package is missing.
        FileError: `source` is no policy, of another version of its model, or the file acts otherwise than the policy.
    """
    source, out = Path(source), Path(out)
    if kind not in SUFFIXES:
        raise ConfigError(f"--format is '{kind}'; choose one of {', '.join(SUFFIXES)}")
    if out.suffix != SUFFIXES[kind]:
        raise ConfigError(f"{out}: a policy as {kind} is a file that ends in {SUFFIXES[kind]}")
    if kind == "onnx" and (missing := [name for name in _ONNX if importlib.util.find_spec(name) is None]):
        raise ConfigError(f"--format onnx needs {', '.join(missing)}: pip install 'musclewarp[onnx]'")
    policy = load_policy(source)
    card = make_card(policy, source)
    text = json.dumps(card, indent=2, allow_nan=False)
    if kind == "safetensors":
        policy.save(out)
        write_text(out.with_suffix(".json"), text + "\n")
        return None
    # two worlds: torch takes a batch of one for a constant
    example = torch.zeros(2, policy.sizes["observations"])
    batch = {"observation": {0: torch.export.Dim("batch")}}
    module = DeterministicPolicy(policy).eval().requires_grad_(False)
    program = torch.export.export(module, (example,), dynamic_shapes=batch)
    differences: list[float] = []

    def write(temporary: Path) -> None:
        acts = (_write_onnx if kind == "onnx" else _write_program)(program, temporary, text)
        differences.append(largest_difference(policy, acts))
        if not differences[0] <= TOLERANCE:
            raise FileError(
                f"{out}: not written, its actions would differ from those of {source} by {differences[0]:.1e}"
            )

    write_atomically(out, write)
    return differences[0]


def make_card(policy: Policy, source: Path) -> dict[str, Any]:
    """What someone must know who uses the policy.

    Raises:
        FileError: it was trained on another version of its model.
    """
    config = policy.env
    model = load_model(config.model, config.fingers, config.physics)
    if policy.model_hash != model.hash:
        raise FileError(
            f"{source}: learned on another version of '{model.name}' ({policy.model_hash[:8]}, this one is "
            f"{model.hash[:8]}); install the musclemimic-models it was trained with"
        )
    terms = _sizes(config, model)
    muscles, joints = list(model.muscles.index), [model.dof_names[dof] for dof in model.joint_dofs]
    excitations = config.control.mode == "excitations"
    return {
        "model": model.name,
        "model_hash": policy.model_hash,
        "control_dt": model.physics.control_dt,
        "observation": [{"name": name, "size": size} for name, size in terms.items()],
        "action": {
            "kind": "excitations" if excitations else "joint_targets",
            "names": muscles if excitations else joints,
        },
        "muscles": muscles,
        "frames": policy.frames,
        "references": _references(policy),
        "figures": _figures(source),
        "env": dataclasses.asdict(config),
        "ppo": dataclasses.asdict(policy.ppo),
    }


def largest_difference(policy: Policy, acts: Actions) -> float:
    """Between the actions of `policy` and of `acts`, on observations like those it has seen and far from them."""
    random = torch.Generator().manual_seed(0)
    normalizer = DeterministicPolicy(policy).head.normalizer
    worst = 0.0
    for batch, spread in ((1, 1.0), (7, 1.0), (64, 3.0), (3, 100.0)):
        noise = torch.randn(batch, policy.sizes["observations"], generator=random)
        observation = normalizer.mean.float() + spread * noise * normalizer.var.sqrt().float()
        with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
            expected = policy.actor(TensorDict({"observation": observation}, batch_size=batch))["action"]
        worst = max(worst, float((acts(observation) - expected).abs().max()))
    return worst


def _write_program(program: torch.export.ExportedProgram, out: Path, card: str) -> Actions:
    extra = {f"{HEADER_KEY}.json": card}
    torch.export.save(program, out, extra_files=extra)
    return torch.export.load(out).module()


def _write_onnx(program: torch.export.ExportedProgram, out: Path, card: str) -> Actions:
    import onnx
    import onnxruntime

    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it misses torchvision, which nobody needs here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own
            exported = torch.onnx.export(program, input_names=["observation"], output_names=["action"], verbose=False)
    finally:
        log.setLevel(level)
    assert exported is not None
    proto = exported.model_proto
    onnx.helper.set_model_props(proto, {HEADER_KEY: card})
    onnx.checker.check_model(proto)
    onnx.save(proto, str(out))
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])

    def acts(observation: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.asarray(session.run(["action"], {"observation": observation.numpy()})[0]))

    return acts


def _sizes(config: EnvConfig, model: MuscleModel) -> dict[str, int]:
    """Sizes of the observation's terms, and of the action: of a world in which the model stands still."""
    rest = make_reference(model, np.tile(model.mj_model.qpos0, (2, 1)), model.physics.control_dt, "rest")
    config = dataclasses.replace(config, engine="native", dump_folder="")
    env = ImitationEnv(config, model=model, library=ReferenceLibrary([rest], model), worlds=1)
    columns = {name: env.observation_columns(name) for name in config.observations}
    return {name: column.stop - column.start for name, column in columns.items()}


def _references(policy: Policy) -> list[dict[str, Any]]:
    """Clips that were learned from, with the recordings' hashes as far as the references are still there."""
    sources: dict[str, Any] = {}
    try:
        headers = [read_reference_header(path) for path in find_references(policy.env.references)]
        sources = {header["name"]: header["source"] for header in headers}
    except FileError:
        warnings.warn(
            f"{policy.env.references}: not there any more; the card has no hashes of recordings", stacklevel=2
        )
    names = policy.clips or tuple(sources)
    known = ("file", "sha256", "loop_frames", "loop_straight")
    return [
        {"name": name, **{key: sources[name][key] for key in known if key in sources.get(name, {})}} for name in names
    ]


def _figures(source: Path) -> dict[str, Any] | None:
    """The policy's part of the `evaluation.json` beside `source`, unless that is older than the policy."""
    path = source.with_name("evaluation.json")
    if not path.is_file() or path.stat().st_mtime < source.stat().st_mtime:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))["policy"]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path}: not what `musclewarp evaluate --json` writes ({error}); move it away") from error
