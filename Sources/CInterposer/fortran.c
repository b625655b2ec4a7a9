// The same for Fortran programs: Open MPI's Fortran functions call PMPI_… and so pass the C ones by.
//
// Compilers decorate Fortran's names each in their way; `mpi_f08` has symbols of its own, whose last argument, the
// error code, may be absent. Handles are numbers there, and the constants addresses of common blocks.

#include "CInterposer.h"

#define EVERY_NAME(name, upper, parameters)                             \
  void name parameters __attribute__((alias(#name "_")));               \
  void name##__ parameters __attribute__((alias(#name "_")));           \
  void name##_f08_ parameters __attribute__((alias(#name "_")));        \
  void upper parameters __attribute__((alias(#name "_")));

extern int mpi_fortran_in_place_, mpi_fortran_bottom_;

static void *address(void *buffer) {
  if (buffer == &mpi_fortran_in_place_) return MPI_IN_PLACE;
  if (buffer == &mpi_fortran_bottom_) return MPI_BOTTOM;
  return buffer;
}

void mpi_allreduce_(
  void *send, void *receive, MPI_Fint *count, MPI_Fint *type, MPI_Fint *operation, MPI_Fint *comm, MPI_Fint *error) {
  int code = MPI_Allreduce(
    address(send), address(receive), *count, PMPI_Type_f2c(*type), PMPI_Op_f2c(*operation), PMPI_Comm_f2c(*comm));
  if (error != NULL) *error = code;
}
EVERY_NAME(
  mpi_allreduce, MPI_ALLREDUCE,
  (void *send, void *receive, MPI_Fint *count, MPI_Fint *type, MPI_Fint *operation, MPI_Fint *comm, MPI_Fint *error))

void mpi_barrier_(MPI_Fint *comm, MPI_Fint *error) {
  int code = MPI_Barrier(PMPI_Comm_f2c(*comm));
  if (error != NULL) *error = code;
}
EVERY_NAME(mpi_barrier, MPI_BARRIER, (MPI_Fint *comm, MPI_Fint *error))

void mpi_bcast_(
  void *buffer, MPI_Fint *count, MPI_Fint *type, MPI_Fint *root, MPI_Fint *comm, MPI_Fint *error) {
  int code = MPI_Bcast(address(buffer), *count, PMPI_Type_f2c(*type), *root, PMPI_Comm_f2c(*comm));
  if (error != NULL) *error = code;
}
EVERY_NAME(
  mpi_bcast, MPI_BCAST,
  (void *buffer, MPI_Fint *count, MPI_Fint *type, MPI_Fint *root, MPI_Fint *comm, MPI_Fint *error))

void mpi_allgather_(
  void *send, MPI_Fint *send_count, MPI_Fint *send_type, void *receive, MPI_Fint *receive_count,
  MPI_Fint *receive_type, MPI_Fint *comm, MPI_Fint *error) {
  int code = MPI_Allgather(
    address(send), *send_count, PMPI_Type_f2c(*send_type), address(receive), *receive_count,
    PMPI_Type_f2c(*receive_type), PMPI_Comm_f2c(*comm));
  if (error != NULL) *error = code;
}
EVERY_NAME(
  mpi_allgather, MPI_ALLGATHER,
  (void *send, MPI_Fint *send_count, MPI_Fint *send_type, void *receive, MPI_Fint *receive_count,
   MPI_Fint *receive_type, MPI_Fint *comm, MPI_Fint *error))

void mpi_reduce_scatter_block_(
  void *send, void *receive, MPI_Fint *count, MPI_Fint *type, MPI_Fint *operation, MPI_Fint *comm, MPI_Fint *error) {
  int code = MPI_Reduce_scatter_block(
    address(send), address(receive), *count, PMPI_Type_f2c(*type), PMPI_Op_f2c(*operation), PMPI_Comm_f2c(*comm));
  if (error != NULL) *error = code;
}
EVERY_NAME(
  mpi_reduce_scatter_block, MPI_REDUCE_SCATTER_BLOCK,
  (void *send, void *receive, MPI_Fint *count, MPI_Fint *type, MPI_Fint *operation, MPI_Fint *comm, MPI_Fint *error))
