// The loop of OSU's osu_allreduce, -m 8:16777216, for comparing a run with the library preloaded to one without: the
// mean time of MPI_Allreduce of floats from one buffer to another, in µs, of the ranks' means.
//
// mpicc -O2 latency.c; mpirun -np 2 ./a.out

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const size_t most = 16 << 20;
  float *send = aligned_alloc(4096, most), *receive = aligned_alloc(4096, most);
  for (size_t i = 0; i < most / sizeof(float); i++) send[i] = 1;
  if (rank == 0) printf("%10s %12s\n", "bytes", "us");
  for (size_t bytes = 8; bytes <= most; bytes *= 2) {
    for (size_t i = 0; i < bytes / sizeof(float); i++) receive[i] = 0;
    int count = (int)(bytes / sizeof(float)), warm_up = bytes > 8192 ? 20 : 200;
    int rounds = bytes > (1 << 20) ? 50 : bytes > 8192 ? 300 : 3000;
    double total = 0;
    for (int i = 0; i < warm_up + rounds; i++) {
      double start = MPI_Wtime();
      MPI_Allreduce(send, receive, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      double end = MPI_Wtime();
      if (i >= warm_up) total += end - start;
      MPI_Barrier(MPI_COMM_WORLD);
    }
    double mean = total / rounds * 1e6, sum;
    MPI_Reduce(&mean, &sum, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    for (int i = 0; i < count; i++)
      if (receive[i] != (float)size) MPI_Abort(MPI_COMM_WORLD, 1);
    if (rank == 0) printf("%10zu %12.2f\n", bytes, sum / size);
  }
  MPI_Finalize();
  return 0;
}
