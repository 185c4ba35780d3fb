"""One of two processes: SIGReg of its part of the vectors under DDP; writes value and gradients."""

import contextlib
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from semantic_ranker_training.gaussian.sigreg import sigreg


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 16))

    def forward(self, vectors):
        return vectors * self.weight


folder, rank = Path(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
given = torch.load(folder / "in.pt")
part = torch.split(given["vectors"], given["sizes"])[rank]
model = DistributedDataParallel(Scale())
value = sigreg(model(part), count=32, seed=5)
value.backward()
found = {"value": value.item(), "gradient": model.module.weight.grad.tolist()}
(folder / f"{rank}.json").write_text(json.dumps(found))
with contextlib.suppress(RuntimeError):  # the other process may have gone already; its file says what it found
    dist.barrier()
    dist.destroy_process_group()
