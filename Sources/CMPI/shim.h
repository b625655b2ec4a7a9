// Everything that mpi.h leaves to macros, as functions: Open MPI's handles are casts of the addresses of externs of
// incomplete type, which Swift imports neither as macro nor as symbol.
#ifndef RINGTRAIN_CMPI_H
#define RINGTRAIN_CMPI_H
#include <mpi.h>

static inline MPI_Comm cmpi_comm_world(void) { return MPI_COMM_WORLD; }
static inline MPI_Comm cmpi_comm_null(void) { return MPI_COMM_NULL; }
static inline MPI_Request cmpi_request_null(void) { return MPI_REQUEST_NULL; }
static inline MPI_Info cmpi_info_null(void) { return MPI_INFO_NULL; }
static inline MPI_Errhandler cmpi_errors_return(void) { return MPI_ERRORS_RETURN; }

// The greatest tag.
static inline int cmpi_tag_upper_bound(void) {
  int *bound, is_known;
  return MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &bound, &is_known) == MPI_SUCCESS && is_known ? *bound : 32767;
}

// ((void *) 1) in Open MPI, which Swift can't import as a pointer.
static inline void *cmpi_in_place(void) { return MPI_IN_PLACE; }
static inline MPI_Status *cmpi_status_ignore(void) { return MPI_STATUS_IGNORE; }
static inline MPI_Status *cmpi_statuses_ignore(void) { return MPI_STATUSES_IGNORE; }

static inline MPI_Datatype cmpi_byte(void) { return MPI_BYTE; }
static inline MPI_Datatype cmpi_int8(void) { return MPI_INT8_T; }
static inline MPI_Datatype cmpi_int16(void) { return MPI_INT16_T; }
static inline MPI_Datatype cmpi_int32(void) { return MPI_INT32_T; }
static inline MPI_Datatype cmpi_int64(void) { return MPI_INT64_T; }
static inline MPI_Datatype cmpi_uint8(void) { return MPI_UINT8_T; }
static inline MPI_Datatype cmpi_uint16(void) { return MPI_UINT16_T; }
static inline MPI_Datatype cmpi_uint32(void) { return MPI_UINT32_T; }
static inline MPI_Datatype cmpi_uint64(void) { return MPI_UINT64_T; }
static inline MPI_Datatype cmpi_float(void) { return MPI_FLOAT; }
static inline MPI_Datatype cmpi_double(void) { return MPI_DOUBLE; }

static inline MPI_Op cmpi_sum(void) { return MPI_SUM; }
static inline MPI_Op cmpi_product(void) { return MPI_PROD; }
static inline MPI_Op cmpi_minimum(void) { return MPI_MIN; }
static inline MPI_Op cmpi_maximum(void) { return MPI_MAX; }
static inline MPI_Op cmpi_logical_and(void) { return MPI_LAND; }
static inline MPI_Op cmpi_logical_or(void) { return MPI_LOR; }
static inline MPI_Op cmpi_logical_xor(void) { return MPI_LXOR; }
static inline MPI_Op cmpi_bitwise_and(void) { return MPI_BAND; }
static inline MPI_Op cmpi_bitwise_or(void) { return MPI_BOR; }
static inline MPI_Op cmpi_bitwise_xor(void) { return MPI_BXOR; }

#endif
