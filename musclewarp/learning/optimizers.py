"""Optimisers of the networks: AdamW, or Muon for the matrices of hidden layers with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from musclewarp.learning.config import PPOConfig


def make_optimizers(networks: Iterable[nn.Module], config: PPOConfig) -> list[torch.optim.Optimizer]:
    """Of all weights of `networks` that learn, with the config's step size; only matrices decay.

    Muon (Jordan et al. 2024) makes the steps of matrices orthogonal; those of first and last layers are AdamW's, as its
    authors advise. Its steps are as large as AdamW's, in the root mean square (Liu et al. 2025, arXiv 2502.16982), so
    that one step size serves both.
    """
    inner, outer, others = [], [], []
    for network in networks:
        matrices = [p for p in network.parameters() if p.ndim == 2 and p.requires_grad]
        inner += matrices[1:-1]
        outer += [p for p in matrices if not any(p is q for q in matrices[1:-1])]
        others += [p for p in network.parameters() if p.ndim != 2 and p.requires_grad]
    rate, decay = config.learning_rate, config.weight_decay
    muon = config.optimizer == "muon"
    groups = [{"params": outer if muon else outer + inner, "weight_decay": decay}, {"params": others}]
    made: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=rate, eps=1e-5, weight_decay=0.0)]
    if muon and inner:
        made.append(torch.optim.Muon(inner, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return made
