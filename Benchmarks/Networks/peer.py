"""Trains the networks of NetworkBenchmark.swift with PyTorch's DistributedDataParallel over gloo, and prints the same
lines of JSON. Started by run.sh under mpirun: peer.py SECONDS MODEL... [--batch N]

One thread a rank, as there.
"""
import json
import os
import statistics
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torch.distributed
from torch import nn

BATCHES = {"mlp-1024": 128, "mlp-256": 32, "cnn": 64, "lstm": 64}


class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(28, 128, batch_first=True)
        self.dense = nn.Linear(128, 10)

    def forward(self, x):
        return self.dense(self.lstm(x.view(-1, 28, 28))[0][:, -1])


def network(name):
    if name.startswith("mlp"):
        width = int(name[4:])
        return nn.Sequential(
            nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
    if name == "cnn":
        return nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)),
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10))
    return LSTM()


def measure(name, batch, seconds, rank, ranks):
    torch.manual_seed(1 + rank)
    rows = 4096
    features, targets = torch.rand(rows, 784), torch.randint(0, 10, (rows,))
    model = network(name)
    if ranks > 1:
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = nn.CrossEntropyLoss()

    def epoch():
        order = torch.randperm(rows)
        start = time.perf_counter()
        for first in range(0, rows - batch + 1, batch):
            chosen = order[first:first + batch]
            optimizer.zero_grad()
            loss(model(features[chosen]), targets[chosen]).backward()
            optimizer.step()
        return rows // batch * batch * ranks / (time.perf_counter() - start)

    epoch()
    start, rates = time.perf_counter(), []
    while True:
        rates.append(epoch())
        over = torch.tensor([int(time.perf_counter() - start >= seconds and len(rates) >= 3)])
        if ranks > 1:
            torch.distributed.broadcast(over, 0)
        if over.item():
            break
    if rank == 0:
        print(json.dumps({
            "model": name, "ranks": ranks, "batch": batch, "samples_per_second": int(statistics.median(rates)),
            "peer": "torch " + torch.__version__}), flush=True)


def main():
    arguments = sys.argv[1:]
    batch = None
    if "--batch" in arguments:
        place = arguments.index("--batch")
        batch = int(arguments[place + 1])
        del arguments[place:place + 2]
    torch.set_num_threads(1)
    rank = int(os.environ.get("OMPI_COMM_WORLD_RANK", 0))
    ranks = int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1))
    if ranks > 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        # The same number in all ranks of a job, and another one in the next.
        os.environ.setdefault("MASTER_PORT", str(20000 + int(os.environ["OMPI_MCA_ess_base_jobid"]) % 20000))
        torch.distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    for name in arguments[1:]:
        measure(name, batch or BATCHES[name], float(arguments[0]), rank, ranks)
    if ranks > 1:
        torch.distributed.barrier()


main()
# gloo's threads sometimes end a process by an abort when it tidies up.
sys.stdout.flush()
os._exit(0)
