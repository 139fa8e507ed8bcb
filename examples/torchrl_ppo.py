"""TorchRL's own PPO on musclewarp's environment, unchanged: python examples/torchrl_ppo.py [--references FOLDER]."""

import argparse
from pathlib import Path

import torch
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.envs import TransformedEnv, VecNormV2
from torchrl.modules import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import musclewarp
from musclewarp.retarget import retarget

parser = argparse.ArgumentParser()
parser.add_argument("--references", help="a folder of references; default: retarget the bundled clip of two arms")
parser.add_argument("--frames", type=int, default=50_000)
parser.add_argument("--worlds", type=int, default=32)
options = parser.parse_args()
config = musclewarp.EnvConfig(references=options.references or "", num_worlds=options.worlds)
library = None
if not options.references:
    model = musclewarp.load_model("bimanual")
    clip = musclewarp.read_amass(Path(__file__).parents[1] / "data/motions/demo/arms.npz")
    library = musclewarp.ReferenceLibrary([retarget(clip, model)], model)
env = TransformedEnv(musclewarp.ImitationEnv(config, library=library), VecNormV2(in_keys=["observation"], eps=1e-4))
size, muscles = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
network = torch.nn.Sequential(MLP(size, 2 * muscles, num_cells=[64, 64]), NormalParamExtractor("biased_softplus_0.5"))
network[0][-1].bias.data[:muscles] = -1.0  # begin with little excitation, so that the joints are not locked
actor = ProbabilisticActor(
    TensorDictModule(network, ["observation"], ["loc", "scale"]), in_keys=["loc", "scale"], return_log_prob=True,
    distribution_class=TanhNormal, distribution_kwargs={"low": 0.0, "high": 1.0}, spec=env.action_spec,
)  # fmt: skip
critic = ValueOperator(MLP(size, 1, num_cells=[64, 64]), ["observation"])
advantage = GAE(gamma=0.9, lmbda=0.95, value_network=critic, average_gae=True)
loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_bonus=False)
optimizer = torch.optim.Adam(loss.parameters(), lr=3e-4)
collector = Collector(env, actor, frames_per_batch=32 * options.worlds, total_frames=options.frames)
for i, rollout in enumerate(collector):
    advantage(rollout)
    for indices in [part for _ in range(3) for part in torch.randperm(rollout.numel()).split(128)]:
        losses = loss(rollout.reshape(-1)[indices])
        optimizer.zero_grad()
        (losses["loss_objective"] + losses["loss_critic"]).backward()
        optimizer.step()
    print(f"{i:4d}  reward {rollout['next', 'reward'].mean():.4f}", flush=True)
