"""Times allreduce of gloo (by torch) or MLX (over MPI) as `ringtrain bench allreduce --json` does.

Started by run.sh under mpirun: peers.py gloo|mlx LARGEST ITERATIONS
"""
import json
import os
import statistics
import sys
import time

SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Gloo:
    def __init__(self):
        import torch
        import torch.distributed

        self.torch = torch
        torch.set_num_threads(1)
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        # The same number in all ranks of a job, and another one in the next.
        os.environ.setdefault("MASTER_PORT", str(20000 + hash_of(os.environ["OMPI_MCA_ess_base_jobid"]) % 20000))
        self.rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
        self.ranks = int(os.environ["OMPI_COMM_WORLD_SIZE"])
        torch.distributed.init_process_group("gloo", rank=self.rank, world_size=self.ranks)

    def make(self, count, value):
        return self.torch.full((count,), float(value))

    def barrier(self):
        self.torch.distributed.barrier()

    def allreduce(self, buffer):
        self.torch.distributed.all_reduce(buffer)
        return buffer

    def slowest(self, seconds):
        times = self.torch.tensor(seconds, dtype=self.torch.float64)
        self.torch.distributed.all_reduce(times, op=self.torch.distributed.ReduceOp.MAX)
        return times.tolist()


class MLX:
    def __init__(self):
        import mlx.core

        self.mx = mlx.core
        mlx.core.set_default_device(mlx.core.cpu)
        self.group = mlx.core.distributed.init(backend="mpi", strict=True)
        self.rank, self.ranks = self.group.rank(), self.group.size()

    def make(self, count, value):
        buffer = self.mx.full((count,), float(value))
        self.mx.eval(buffer)
        return buffer

    def barrier(self):
        self.mx.eval(self.mx.distributed.all_sum(self.mx.array(1.0), group=self.group))

    def allreduce(self, buffer):
        result = self.mx.distributed.all_sum(buffer, group=self.group)
        self.mx.eval(result)
        return result

    def slowest(self, seconds):
        # MLX has no maximum over ranks on every version: gather, then take it here.
        rows = self.mx.distributed.all_gather(self.mx.array([seconds]), group=self.group).tolist()
        return [max(column) for column in zip(*rows)]


def hash_of(text):
    return sum(ord(letter) * 31**place for place, letter in enumerate(text))


def main():
    name, largest, iterations = sys.argv[1:]
    library = {"gloo": Gloo, "mlx": MLX}[name]()
    largest = int(largest[:-1]) * SIZES[largest[-1]] if largest[-1] in SIZES else int(largest)
    size = 4
    while size <= largest:
        repeats = max(min(int(iterations), 10), min(int(iterations), int(iterations) * (1 << 20) // size))
        seconds, wrong = [], 0
        for iteration in range(-min(10, repeats), repeats):
            buffer = library.make(size // 4, library.rank + abs(iteration) % 8)
            library.barrier()
            start = time.perf_counter()
            result = library.allreduce(buffer)
            elapsed = time.perf_counter() - start
            expected = library.ranks * (abs(iteration) % 8) + library.ranks * (library.ranks - 1) // 2
            wrong += 0 if bool((result == float(expected)).all().item()) else 1
            if iteration >= 0:
                seconds.append(elapsed)
        slowest = library.slowest(seconds)
        if library.rank == 0:
            line = {
                "algorithm": name, "buffers": "ordinary", "bytes": size, "count": size // 4, "type": "float",
                "op": "sum", "ranks": library.ranks, "hosts": 1, "iterations": repeats,
                "median_us": statistics.median(slowest) * 1e6, "min_us": min(slowest) * 1e6,
                "max_us": max(slowest) * 1e6, "wrong": wrong,
            }
            print(json.dumps(line), flush=True)
        size *= 4


main()
