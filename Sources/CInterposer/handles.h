// MPI's predefined types and operations in our terms.
#ifndef RINGTRAIN_HANDLES_H
#define RINGTRAIN_HANDLES_H
#include "CInterposer.h"

// Whether ours reduce elements of this type by this operation, and as what. For every other pair, those that MPI
// forbids among them, false: MPI reports the error, or has the types that ours lack.
bool rt_reduction(MPI_Datatype type, MPI_Op operation, uint8_t *our_type, uint8_t *our_operation);

#endif
