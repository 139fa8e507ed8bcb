"""References that a shared policy learned from, made again from their recordings."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from musclewarp.errors import FileError
from musclewarp.files import data_root
from musclewarp.learning.policy import Policy
from musclewarp.models import model_of_rate
from musclewarp.references.library import find_references
from musclewarp.references.loop import cut_loop
from musclewarp.references.reference import SUFFIX, Reference, read_reference_header
from musclewarp.retarget.folder import Settings
from musclewarp.retargeting import retarget_paths

_BUNDLED = Path(__file__).resolve().parents[1] / "data"


def references_of(path: Path, policy: Policy, folder: Path) -> list[Path]:
    """What the policy at `path` learned from: where it lay then, or made again in `folder` as its card says.

    The card is `<policy>.json`, of `musclewarp export`; recordings are looked for, by name and content, among the
    bundled ones and under the data root.

    Raises:
        FileError: the references are gone, and there is no card, or a recording is not found.
    """
    try:
        found = find_references(policy.env.references)
        if not policy.clips or {read_reference_header(file)["name"] for file in found} == set(policy.clips):
            return found
    except FileError:
        pass
    gone = f"{path}: what it learned from, {', '.join(policy.clips)}, is not in {policy.env.references} any more"
    card = path.with_suffix(".json")
    if not card.is_file():
        raise FileError(f"{gone}, and no card {card.name} beside it says how it was made; give --references")
    made: list[Path] = []
    for entry in _entries(card):
        recording = _find(entry)
        if recording is None:
            raise FileError(
                f"{gone}, and the recording '{entry.get('file', entry['name'])}' that '{entry['name']}' was made of is "
                f"not under {_BUNDLED} or {data_root()}; set MUSCLEWARP_DATA, or give --references"
            )
        out = folder / entry["name"]
        env = policy.env
        retarget_paths([recording], Settings(env.model, env.fingers, env.physics.control_dt), out)
        made.append(_cut(next(out.glob(f"*{SUFFIX}")), entry) if "loop_frames" in entry else out)
    return made


def _entries(card: Path) -> list[dict[str, Any]]:
    try:
        references = json.loads(card.read_text(encoding="utf-8"))["references"]
        return [dict(entry, name=str(entry["name"])) for entry in references]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"{card}: not a card of `musclewarp export` ({error}); give --references") from error


def _cut(path: Path, entry: dict[str, Any]) -> Path:
    recording = Reference.load(path)
    first, last = (frame * recording.dt for frame in entry["loop_frames"])
    model, straight = model_of_rate(recording.model, recording.dt), entry["loop_straight"]
    loop = cut_loop(model, recording, (first, last), straight=straight, name=entry["name"])
    return loop.save(path.parent / f"{entry['name']}.loop{SUFFIX}")


def _find(entry: dict[str, Any]) -> Path | None:
    for root in (_BUNDLED, data_root()):
        for path in sorted(root.rglob(Path(entry.get("file", "-")).name)):
            if sha256(path.read_bytes()).hexdigest() == entry.get("sha256"):
                return path
    return None
