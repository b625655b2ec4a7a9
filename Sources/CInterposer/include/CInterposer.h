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

// The functions that are served, where ours are the faster.
enum rt_function {
  RT_ALLREDUCE, RT_BARRIER, RT_BROADCAST, RT_ALLGATHER, RT_REDUCE_SCATTER_BLOCK, RT_FUNCTION_COUNT
};

// Implemented in Swift, under names as they are usual there.
#define RT_SWIFT(name) __attribute__((swift_name(name)))

// Makes what ours keep for a communicator; collective. Returns one of MPI's error codes, as all of these.
int ringtrain_open(MPI_Comm comm, void *_Nullable *_Nonnull opened) RT_SWIFT("openCommunicator(_:_:)");
// Gives it back; collective.
void ringtrain_close(void *opened) RT_SWIFT("closeCommunicator(_:)");
// Whether ours serve a function for so many bytes: the same on all ranks.
bool ringtrain_serves(void *opened, int function, int64_t bytes) RT_SWIFT("serves(_:_:_:)");
// From `send` to `receive`, which may be the same.
int ringtrain_allreduce(
  void *opened, const void *send, void *receive, int64_t count, uint8_t type, uint8_t operation)
  RT_SWIFT("allreduce(_:_:_:_:_:_:)");
int ringtrain_barrier(void *opened) RT_SWIFT("barrier(_:)");
int ringtrain_broadcast(void *opened, void *buffer, int64_t bytes, int root) RT_SWIFT("broadcast(_:_:_:_:)");
// Every rank's bytes, this one's being in their place.
int ringtrain_allgather(void *opened, void *buffer, int64_t bytes_per_rank) RT_SWIFT("allgather(_:_:_:)");
// `count` elements for each rank, from `send` to `receive`, which don't overlap.
int ringtrain_reduce_scatter_block(
  void *opened, const void *send, void *receive, int64_t count, uint8_t type, uint8_t operation)
  RT_SWIFT("reduceScatterBlock(_:_:_:_:_:_:)");

#pragma clang assume_nonnull end

#endif
