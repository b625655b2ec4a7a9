// What the two halves of libRingTrainMPI ask of each other: C, which exports MPI's symbols and knows its handles, and
// Swift, which has the collectives.
#ifndef RINGTRAIN_CINTERPOSER_H
#define RINGTRAIN_CINTERPOSER_H
#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Element types and operations that ours cover; the numbers are `Datatype`'s and `ReduceKind`'s raw values.
enum {
  RT_INT8, RT_INT16, RT_INT32, RT_INT64, RT_UINT8, RT_UINT16, RT_UINT32, RT_UINT64, RT_FLOAT, RT_DOUBLE
};
enum { RT_SUM, RT_PROD, RT_MIN, RT_MAX, RT_LAND, RT_LOR, RT_LXOR, RT_BAND, RT_BOR, RT_BXOR };

#pragma clang assume_nonnull begin

// Implemented in Swift. All return MPI's error codes.

// Makes what ours keep for a communicator; collective. NULL in *opened when there was an error.
int ringtrain_open(MPI_Comm comm, void *_Nullable *_Nonnull opened);
// Gives it back; collective.
void ringtrain_close(void *opened);
int ringtrain_allreduce(void *opened, void *buffer, int64_t count, uint8_t type, uint8_t operation);
int ringtrain_barrier(void *opened);
// Whether ours have a barrier for this communicator: the same on all its ranks.
bool ringtrain_has_barrier(void *opened);

#pragma clang assume_nonnull end

#endif
