"""In the mirror: what is seen, what is done, and what comes of it."""

from __future__ import annotations

import pytest
import torch

from musclewarp.envs import EnvConfig
from musclewarp.envs.observations import OBSERVATIONS
from musclewarp.envs.symmetry import PARTS, Symmetry
from musclewarp.references.library import ReferenceLibrary
from musclewarp.references.mirror import mirror_reference

ALL = tuple(OBSERVATIONS)


@pytest.fixture(params=["bimanual", "myofullbody"])
def beside_its_image(request, make_env, arms, body, arms_references, body_references):
    """An environment whose second world follows the mirror image of what its first one follows."""
    model, references = {"bimanual": (arms, arms_references), "myofullbody": (body, body_references)}[request.param]
    library = ReferenceLibrary([references[0], mirror_reference(model, references[0])], model)
    terms = tuple(name for name in ALL if model.feet or name != "foot_force")
    env = make_env(request.param, worlds=2, library=library, observations=terms, terminations={})
    env.reset_to(torch.tensor([0, 1]), torch.tensor([1, 1]))
    return env


def test_every_observation_has_an_image():
    assert PARTS.keys() == OBSERVATIONS.keys()


def test_an_image_of_an_image_is_the_thing(arms, body):
    for model in (arms, body):
        symmetry = Symmetry(model, EnvConfig(observations=tuple(n for n in ALL if model.feet or n != "foot_force")))
        for swap in (symmetry.action, *symmetry.observations.values()):
            x = torch.randn(3, len(swap.source))
            assert torch.equal(swap(swap(x)), x)
            assert not torch.equal(swap(x), x)


def test_the_mirrored_simulation_is_the_simulations_mirror(beside_its_image):
    """Sees, does and becomes the same, but for the model's own asymmetry of a millimetre."""
    env = beside_its_image
    symmetry = Symmetry(env.model, env.config)
    swap = symmetry.observations["observation"]
    current = env.current()
    generator = torch.Generator().manual_seed(1)
    scale = {}
    for name in env.config.observations:
        column = env.observation_columns(name)
        scale[name] = (column, 0.05 * current["observation"][0, column].abs().max().clamp(min=0.5))
    for step in range(6):
        observation = current["observation"]
        difference = (observation[1] - swap(observation[0])).abs()
        for name, (column, bar) in scale.items():
            if name != "foot_force" and not (name == "muscle_force" and step):
                assert float(difference[column].mean()) < bar, (name, step)
        action = torch.rand(1, len(symmetry.action.source), generator=generator) * 0.3
        current["action"] = torch.cat((action, symmetry.action(action)))
        current = env.step(current)["next"]
    site = env.state.site_pos
    moved = site[:, 1:] - site[:, :1]
    assert moved.isfinite().all()
