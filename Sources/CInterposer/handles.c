#include "handles.h"

// Which operations MPI allows for a kind of types (MPI 3.1, section 5.9.2).
enum {
  ARITHMETIC = 1 << RT_SUM | 1 << RT_PROD | 1 << RT_MIN | 1 << RT_MAX,
  LOGICAL = 1 << RT_LAND | 1 << RT_LOR | 1 << RT_LXOR,
  BITWISE = 1 << RT_BAND | 1 << RT_BOR | 1 << RT_BXOR,
  C_INTEGER = ARITHMETIC | LOGICAL | BITWISE,
  // Fortran's integers, and those that both languages have.
  OTHER_INTEGER = ARITHMETIC | BITWISE,
};

enum family { SIGNED, UNSIGNED, FLOATING };

// Our type for one of a family and a size; −1 where there is none (`MPI_INTEGER16`, `MPI_REAL2`).
static int type_of(enum family family, int size) {
  switch (size) {
  case 1: return family == FLOATING ? -1 : family == SIGNED ? RT_INT8 : RT_UINT8;
  case 2: return family == FLOATING ? -1 : family == SIGNED ? RT_INT16 : RT_UINT16;
  case 4: return family == FLOATING ? RT_FLOAT : family == SIGNED ? RT_INT32 : RT_UINT32;
  case 8: return family == FLOATING ? RT_DOUBLE : family == SIGNED ? RT_INT64 : RT_UINT64;
  default: return -1;
  }
}

static bool find_type(MPI_Datatype type, uint8_t *our_type, unsigned *operations) {
  // Handles are addresses that only the dynamic linker knows, so this can't be a `switch`; the first ones are those
  // that programs use most.
  const struct { MPI_Datatype type; enum family family; unsigned operations; } types[] = {
    {MPI_DOUBLE, FLOATING, ARITHMETIC}, {MPI_FLOAT, FLOATING, ARITHMETIC},
    {MPI_INT, SIGNED, C_INTEGER}, {MPI_LONG, SIGNED, C_INTEGER},
    {MPI_UNSIGNED_LONG, UNSIGNED, C_INTEGER}, {MPI_INT64_T, SIGNED, C_INTEGER},
    {MPI_UINT64_T, UNSIGNED, C_INTEGER}, {MPI_INT32_T, SIGNED, C_INTEGER},
    {MPI_UINT32_T, UNSIGNED, C_INTEGER}, {MPI_DOUBLE_PRECISION, FLOATING, ARITHMETIC},
    {MPI_REAL, FLOATING, ARITHMETIC}, {MPI_INTEGER, SIGNED, OTHER_INTEGER},
    {MPI_UNSIGNED, UNSIGNED, C_INTEGER}, {MPI_LONG_LONG, SIGNED, C_INTEGER},
    {MPI_UNSIGNED_LONG_LONG, UNSIGNED, C_INTEGER}, {MPI_SHORT, SIGNED, C_INTEGER},
    {MPI_UNSIGNED_SHORT, UNSIGNED, C_INTEGER}, {MPI_SIGNED_CHAR, SIGNED, C_INTEGER},
    {MPI_UNSIGNED_CHAR, UNSIGNED, C_INTEGER}, {MPI_INT8_T, SIGNED, C_INTEGER},
    {MPI_UINT8_T, UNSIGNED, C_INTEGER}, {MPI_INT16_T, SIGNED, C_INTEGER},
    {MPI_UINT16_T, UNSIGNED, C_INTEGER}, {MPI_C_BOOL, UNSIGNED, LOGICAL},
    {MPI_CXX_BOOL, UNSIGNED, LOGICAL}, {MPI_BYTE, UNSIGNED, BITWISE},
    {MPI_AINT, SIGNED, OTHER_INTEGER}, {MPI_OFFSET, SIGNED, OTHER_INTEGER},
    {MPI_COUNT, SIGNED, OTHER_INTEGER}, {MPI_REAL4, FLOATING, ARITHMETIC},
    {MPI_REAL8, FLOATING, ARITHMETIC}, {MPI_INTEGER1, SIGNED, OTHER_INTEGER},
    {MPI_INTEGER2, SIGNED, OTHER_INTEGER}, {MPI_INTEGER4, SIGNED, OTHER_INTEGER},
    {MPI_INTEGER8, SIGNED, OTHER_INTEGER},
  };
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (types[i].type != type) continue;
    int size = 0;
    if (PMPI_Type_size(type, &size) != MPI_SUCCESS) return false;
    int found = type_of(types[i].family, size);
    *our_type = (uint8_t)found;
    *operations = types[i].operations;
    return found >= 0;
  }
  return false;
}

static bool find_operation(MPI_Op operation, uint8_t *our_operation) {
  const MPI_Op operations[] = {
    [RT_SUM] = MPI_SUM, [RT_PROD] = MPI_PROD, [RT_MIN] = MPI_MIN, [RT_MAX] = MPI_MAX, [RT_LAND] = MPI_LAND,
    [RT_LOR] = MPI_LOR, [RT_LXOR] = MPI_LXOR, [RT_BAND] = MPI_BAND, [RT_BOR] = MPI_BOR, [RT_BXOR] = MPI_BXOR,
  };
  for (uint8_t i = 0; i < sizeof operations / sizeof *operations; i++) {
    if (operations[i] != operation) continue;
    *our_operation = i;
    return true;
  }
  return false;
}

bool rt_reduction(MPI_Datatype type, MPI_Op operation, uint8_t *our_type, uint8_t *our_operation) {
  // Programs ask for the same pair over and over. Predefined handles are never given to anything else, so that what is
  // known of them stays true.
  static __thread struct { MPI_Datatype type; MPI_Op operation; uint8_t our_type, our_operation; } last;
  if (type != last.type || operation != last.operation || type == NULL) {
    uint8_t found_type, found_operation;
    unsigned operations;
    if (!find_operation(operation, &found_operation) || !find_type(type, &found_type, &operations)
        || !(operations >> found_operation & 1))
      return false;
    last.type = type;
    last.operation = operation;
    last.our_type = found_type;
    last.our_operation = found_operation;
  }
  *our_type = last.our_type;
  *our_operation = last.our_operation;
  return true;
}
