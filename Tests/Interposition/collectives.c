// An MPI program that knows nothing of RingTrain: calls the collectives in every way that a program may, and checks
// what it gets. Prints each wrong result, and in the end what a library that serves the calls should have counted.
//
// mpicc collectives.c -lpthread; mpirun -np 4 ./a.out

#include <dirent.h>
#include <mpi.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int failures;
static int world_rank, world_size;

#define EXPECT(condition, ...)                                       \
  do {                                                               \
    if (!(condition) && failures++ < 20) {                           \
      fprintf(stdout, "rank %d of %d: ", world_rank, world_size);    \
      fprintf(stdout, __VA_ARGS__);                                  \
      fprintf(stdout, " (line %d)\n", __LINE__);                     \
      fflush(stdout);                                                \
    }                                                                \
  } while (0)

// MARK: What should have been served

// Of MPI_Bcast and MPI_Allgather the library serves the sizes at which it is the faster.
enum function { ALLREDUCE, BARRIER, REDUCE_SCATTER_BLOCK, FUNCTION_COUNT };
static const char *const function_names[] = {"MPI_Allreduce", "MPI_Barrier", "MPI_Reduce_scatter_block"};
static unsigned long long calls[FUNCTION_COUNT], served[FUNCTION_COUNT];

static int size_of(MPI_Comm comm) {
  int size, is_inter;
  MPI_Comm_test_inter(comm, &is_inter);
  if (is_inter) return 0;
  MPI_Comm_size(comm, &size);
  return size;
}

static void note(enum function function, MPI_Comm comm, bool is_ours) {
  calls[function]++;
  if (is_ours && size_of(comm) > 1) served[function]++;
}

static void allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm,
                      bool is_ours) {
  note(ALLREDUCE, comm, is_ours && count > 0);
  MPI_Allreduce(send, receive, count, type, operation, comm);
}

static void barrier(MPI_Comm comm) {
  note(BARRIER, comm, true);
  MPI_Barrier(comm);
}

// MARK: Types and operations

// Small whole numbers, which every type holds exactly, as do the sums and products of 8 ranks'.
static int value(int rank, int i, bool is_signed) { return (i * 7 + rank * 3 + i / 5) % 3 - (is_signed ? 1 : 0); }

static int combined(int operation, int a, int b) {
  switch (operation) {
  case 0: return a + b;
  case 1: return a * b;
  case 2: return a < b ? a : b;
  case 3: return a > b ? a : b;
  case 4: return a && b;
  case 5: return a || b;
  case 6: return !a != !b;
  case 7: return a & b;
  case 8: return a | b;
  default: return a ^ b;
  }
}

struct element {
  const char *name;
  MPI_Datatype type;
  size_t size;
  bool is_signed;
  // Whether arithmetic, logical, bitwise operations apply.
  bool arithmetic, logical, bitwise;
  void (*put)(void *, int, int);
  int (*get)(const void *, int);
};

#define ACCESS(name, c_type)                                                                     \
  static void put_##name(void *buffer, int i, int value) { ((c_type *)buffer)[i] = (c_type)value; } \
  static int get_##name(const void *buffer, int i) { return (int)((const c_type *)buffer)[i]; }
ACCESS(i8, int8_t) ACCESS(i16, int16_t) ACCESS(i32, int32_t) ACCESS(i64, int64_t)
ACCESS(u8, uint8_t) ACCESS(u16, uint16_t) ACCESS(u32, uint32_t) ACCESS(u64, uint64_t)
ACCESS(f32, float) ACCESS(f64, double)

#define ELEMENT(type, access, size, is_signed, ...) {#type, type, size, is_signed, __VA_ARGS__, put_##access, get_##access}
#define C_INTEGER(type, access, size, is_signed) ELEMENT(type, access, size, is_signed, true, true, true)
#define OTHER_INTEGER(type, access, size, is_signed) ELEMENT(type, access, size, is_signed, true, false, true)
#define REAL(type, access, size) ELEMENT(type, access, size, true, true, false, false)

static struct element elements[64];
static int element_count;

static void make_elements(void) {
  const struct element all[] = {
    C_INTEGER(MPI_SIGNED_CHAR, i8, 1, true), C_INTEGER(MPI_UNSIGNED_CHAR, u8, 1, false),
    C_INTEGER(MPI_SHORT, i16, 2, true), C_INTEGER(MPI_UNSIGNED_SHORT, u16, 2, false),
    C_INTEGER(MPI_INT, i32, 4, true), C_INTEGER(MPI_UNSIGNED, u32, 4, false),
    C_INTEGER(MPI_LONG, i64, 8, true), C_INTEGER(MPI_UNSIGNED_LONG, u64, 8, false),
    C_INTEGER(MPI_LONG_LONG, i64, 8, true), C_INTEGER(MPI_UNSIGNED_LONG_LONG, u64, 8, false),
    C_INTEGER(MPI_INT8_T, i8, 1, true), C_INTEGER(MPI_UINT8_T, u8, 1, false),
    C_INTEGER(MPI_INT16_T, i16, 2, true), C_INTEGER(MPI_UINT16_T, u16, 2, false),
    C_INTEGER(MPI_INT32_T, i32, 4, true), C_INTEGER(MPI_UINT32_T, u32, 4, false),
    C_INTEGER(MPI_INT64_T, i64, 8, true), C_INTEGER(MPI_UINT64_T, u64, 8, false),
    REAL(MPI_FLOAT, f32, 4), REAL(MPI_DOUBLE, f64, 8),
    OTHER_INTEGER(MPI_AINT, i64, 8, true), OTHER_INTEGER(MPI_OFFSET, i64, 8, true),
    OTHER_INTEGER(MPI_COUNT, i64, 8, true), OTHER_INTEGER(MPI_INTEGER, i32, 4, true),
    OTHER_INTEGER(MPI_INTEGER1, i8, 1, true), OTHER_INTEGER(MPI_INTEGER2, i16, 2, true),
    OTHER_INTEGER(MPI_INTEGER4, i32, 4, true), OTHER_INTEGER(MPI_INTEGER8, i64, 8, true),
    REAL(MPI_REAL, f32, 4), REAL(MPI_REAL4, f32, 4), REAL(MPI_DOUBLE_PRECISION, f64, 8), REAL(MPI_REAL8, f64, 8),
    ELEMENT(MPI_C_BOOL, u8, 1, false, false, true, false), ELEMENT(MPI_BYTE, u8, 1, false, false, false, true),
  };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    int size;
    MPI_Type_size(all[i].type, &size);
    // A library built without a Fortran compiler hasn't got Fortran's.
    if ((size_t)size == all[i].size) elements[element_count++] = all[i];
  }
  EXPECT(element_count == sizeof all / sizeof *all, "only %d types are there", element_count);
}

static MPI_Op operation_of(int index) {
  const MPI_Op all[] = {MPI_SUM, MPI_PROD, MPI_MIN, MPI_MAX, MPI_LAND, MPI_LOR, MPI_LXOR, MPI_BAND, MPI_BOR, MPI_BXOR};
  return all[index];
}

static bool applies(const struct element *element, int operation) {
  return operation < 4 ? element->arithmetic : operation < 7 ? element->logical : element->bitwise;
}

// A boolean must be 0 or 1.
static int input(const struct element *element, int rank, int i) {
  int raw = value(rank, i, element->is_signed);
  return element->type == MPI_C_BOOL ? raw != 0 : raw;
}

static int result_of(const struct element *element, int operation, int size, int i) {
  int result = input(element, 0, i);
  for (int rank = 1; rank < size; rank++) result = combined(operation, result, input(element, rank, i));
  return size == 1 && operation >= 4 && operation < 7 ? input(element, 0, i) : result;
}

static void check_allreduce(MPI_Comm comm, const char *name, const int *counts, int count_count) {
  int rank, size;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  for (int e = 0; e < element_count; e++) {
    const struct element *element = &elements[e];
    for (int c = 0; c < count_count; c++) {
      int count = counts[c];
      // One element more, which must stay as it is.
      char *send = malloc((size_t)(count + 1) * element->size), *receive = malloc((size_t)(count + 1) * element->size);
      for (int operation = 0; operation < 10; operation++) {
        if (!applies(element, operation)) continue;
        for (int in_place = 0; in_place < 2; in_place++) {
          for (int i = 0; i < count; i++) {
            element->put(send, i, input(element, rank, i));
            element->put(receive, i, in_place ? input(element, rank, i) : 1);
          }
          element->put(receive, count, 1);
          allreduce(in_place ? MPI_IN_PLACE : send, receive, count, element->type, operation_of(operation), comm, true);
          int wrong = -1;
          for (int i = count - 1; i >= 0; i--) {
            if (element->get(receive, i) != result_of(element, operation, size, i)) wrong = i;
            if (element->get(send, i) != input(element, rank, i)) wrong = i;
          }
          EXPECT(wrong < 0, "%s: %s, operation %d, count %d, in place %d: element %d is %d", name, element->name,
                 operation, count, in_place, wrong, element->get(receive, wrong));
          EXPECT(element->get(receive, count) == 1, "%s: %s writes beyond its end", name, element->name);
        }
      }
      free(send);
      free(receive);
    }
  }
}

// MARK: The other collectives

// The library decides which sizes it serves; what matters here is what arrives.
static void check_reduce_scatter(MPI_Comm comm, const int *counts, int count_count) {
  int rank, size;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  for (int e = 0; e < element_count; e++) {
    const struct element *element = &elements[e];
    for (int c = 0; c < count_count; c++) {
      int count = counts[c], all = count * size;
      char *send = malloc((size_t)(all + 1) * element->size), *receive = malloc((size_t)(all + 1) * element->size);
      for (int operation = 0; operation < 10; operation++) {
        if (!applies(element, operation)) continue;
        for (int in_place = 0; in_place < 2; in_place++) {
          for (int i = 0; i < all; i++) {
            element->put(send, i, input(element, rank, i));
            element->put(receive, i, in_place ? input(element, rank, i) : 1);
          }
          if (!in_place) element->put(receive, count, 1);
          note(REDUCE_SCATTER_BLOCK, comm, count > 0);
          MPI_Reduce_scatter_block(
            in_place ? MPI_IN_PLACE : send, receive, count, element->type, operation_of(operation), comm);
          int wrong = -1;
          for (int i = 0; i < count; i++)
            if (element->get(receive, i) != result_of(element, operation, size, rank * count + i)) wrong = i;
          EXPECT(wrong < 0, "reduce_scatter_block: %s, operation %d, count %d, in place %d: element %d", element->name,
                 operation, count, in_place, wrong);
          EXPECT(in_place || element->get(receive, count) == 1, "%s writes beyond its end", element->name);
        }
      }
      free(send);
      free(receive);
    }
  }
}

// Whole numbers of 32 bits in types of three kinds: MPI's own; the same without gaps, as one element; and every other
// one of an array. Their bytes are the same.
static MPI_Datatype make_type(int kind, int count) {
  MPI_Datatype type = MPI_INT;
  if (kind == 1) MPI_Type_contiguous(count, MPI_INT, &type);
  if (kind == 2) MPI_Type_vector(count, 1, 2, MPI_INT, &type);
  if (kind != 0) MPI_Type_commit(&type);
  return type;
}

// Where number `i` of block `block` lies.
static int place(int kind, int count, int block, int i) {
  return kind == 2 ? block * (2 * count - 1) + 2 * i : block * count + i;
}

static void check_copies(MPI_Comm comm, const int *counts, int count_count) {
  int rank, size;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  for (int c = 0; c < count_count; c++) {
    int count = counts[c];
    int *mine = malloc((size_t)(2 * count + 2) * sizeof(int));
    int *all = malloc((size_t)(2 * count + 2) * (size_t)size * sizeof(int));
    // Every rank has another kind, and another one each time.
    for (int shift = 0; shift < (count > 0 ? 4 : 1); shift++) {
      int kind = shift == 3 ? 0 : (rank + shift) % 3, other = shift == 3 ? 0 : (rank + shift + 1) % 3;
      if (count == 0) kind = other = 0;
      MPI_Datatype type = make_type(kind, count), other_type = make_type(other, count);
      int elements = kind == 0 ? count : 1, others = other == 0 ? count : 1;
      for (int root = 0; root < size; root++) {
        for (int i = 0; i < 2 * count + 2; i++) mine[i] = -1;
        if (rank == root)
          for (int i = 0; i < count; i++) mine[place(kind, count, 0, i)] = 1000 * root + i;
        MPI_Bcast(mine, elements, type, root, comm);
        int wrong = -1, touched = 0;
        for (int i = 0; i < count; i++)
          if (mine[place(kind, count, 0, i)] != 1000 * root + i) wrong = i;
        if (kind == 2)
          for (int i = 1; i < 2 * count; i += 2) touched += mine[i] != -1;
        EXPECT(wrong < 0, "broadcast of %d from %d, kind %d: element %d", count, root, kind, wrong);
        EXPECT(touched == 0, "broadcast of %d writes between", count);
      }
      for (int in_place = 0; in_place < 2; in_place++) {
        for (int i = 0; i < (2 * count + 2) * size; i++) all[i] = -1;
        for (int i = 0; i < count; i++) {
          mine[place(other, count, 0, i)] = 1000 * rank + i;
          if (in_place) all[place(kind, count, rank, i)] = 1000 * rank + i;
        }
        if (in_place)
          MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, elements, type, comm);
        else
          MPI_Allgather(mine, others, other_type, all, elements, type, comm);
        int wrong = -1, filled = 0;
        for (int block = 0; block < size; block++)
          for (int i = 0; i < count; i++)
            if (all[place(kind, count, block, i)] != 1000 * block + i) wrong = block * count + i;
        for (int i = 0; i < (2 * count + 2) * size; i++) filled += all[i] != -1;
        EXPECT(wrong < 0, "allgather of %d, kinds %d and %d, in place %d: element %d", count, other, kind, in_place,
               wrong);
        EXPECT(filled == count * size, "allgather of %d, kind %d writes between", count, kind);
      }
      if (kind != 0) MPI_Type_free(&type);
      if (other != 0) MPI_Type_free(&other_type);
    }
    free(mine);
    free(all);
  }
}

// A predefined type with a gap: 12 bytes in every 16.
static void check_gaps(MPI_Comm comm) {
  struct pair { double number; int place; int gap; } pairs[8];
  int rank, size;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  for (int i = 0; i < 8; i++) pairs[i] = (struct pair){rank + 0.5, rank, 99};
  MPI_Bcast(pairs, 3, MPI_DOUBLE_INT, size - 1, comm);
  EXPECT(pairs[2].number == size - 0.5 && pairs[2].place == size - 1 && pairs[3].number == rank + 0.5, "MPI_DOUBLE_INT");
  EXPECT(pairs[0].gap == 99 && pairs[1].gap == 99, "the gaps of MPI_DOUBLE_INT were written");
}

// MARK: What ours don't have

static void keep_first_digit(void *in, void *inout, int *count, MPI_Datatype *type) {
  (void)type;
  for (int i = 0; i < *count; i++) ((int *)inout)[i] = (((int *)inout)[i] + ((int *)in)[i]) % 10;
}

static void add_pairs(void *in, void *inout, int *count, MPI_Datatype *type) {
  (void)type;
  for (int i = 0; i < 2 * *count; i++) ((int *)inout)[i] += ((int *)in)[i];
}

static void check_the_rest(void) {
  MPI_Op digit, pairs;
  MPI_Op_create(keep_first_digit, 1, &digit);
  MPI_Op_create(add_pairs, 1, &pairs);
  int mine[2] = {7 + world_rank, 3}, sum[2];
  allreduce(mine, sum, 2, MPI_INT, digit, MPI_COMM_WORLD, false);
  int first = 7;
  for (int r = 1; r < world_size; r++) first = (first + 7 + r) % 10;
  EXPECT(sum[0] == first, "a user's operation gives %d, not %d", sum[0], first);

  MPI_Datatype pair;
  MPI_Type_contiguous(2, MPI_INT, &pair);
  MPI_Type_commit(&pair);
  allreduce(mine, sum, 1, pair, pairs, MPI_COMM_WORLD, false);
  EXPECT(sum[1] == 3 * world_size, "a derived type gives %d", sum[1]);
  MPI_Type_free(&pair);
  MPI_Op_free(&digit);
  MPI_Op_free(&pairs);

  struct { double value; int place; } least = {-world_rank, world_rank}, found;
  allreduce(&least, &found, 1, MPI_DOUBLE_INT, MPI_MINLOC, MPI_COMM_WORLD, false);
  EXPECT(found.place == world_size - 1, "MPI_MINLOC gives %d", found.place);

  long double wide = 1, total;
  allreduce(&wide, &total, 1, MPI_LONG_DOUBLE, MPI_SUM, MPI_COMM_WORLD, false);
  EXPECT(total == world_size, "long double");

  int one = 1;
  allreduce(MPI_IN_PLACE, &one, 1, MPI_INT, MPI_SUM, MPI_COMM_SELF, true);
  EXPECT(one == 1, "MPI_COMM_SELF gives %d", one);
  barrier(MPI_COMM_SELF);

  if (world_size < 2) return;
  MPI_Comm half, inter;
  int color = world_rank % 2;
  MPI_Comm_split(MPI_COMM_WORLD, color, 0, &half);
  MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, 1 - color, 5, &inter);
  int group, others = 0;
  MPI_Comm_rank(half, &group);
  allreduce(&world_rank, &others, 1, MPI_INT, MPI_SUM, inter, true);
  int expected = 0;
  for (int r = 1 - color; r < world_size; r += 2) expected += r;
  EXPECT(others == expected, "an intercommunicator gives %d, not %d", others, expected);
  barrier(inter);
  MPI_Comm_free(&inter);
  MPI_Comm_free(&half);
}

// Wrong arguments are MPI's to report, through the program's own error handler, and to this rank alone.
static void check_errors(void) {
  MPI_Errhandler handler;
  MPI_Comm_get_errhandler(MPI_COMM_WORLD, &handler);
  EXPECT(handler == MPI_ERRORS_ARE_FATAL, "the world's error handler has changed");
  MPI_Errhandler_free(&handler);
  MPI_Comm comm;
  MPI_Comm_dup(MPI_COMM_WORLD, &comm);
  MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  int x = 1, y = 0;
  allreduce(&x, &y, 1, MPI_INT, MPI_SUM, comm, true);
  note(ALLREDUCE, comm, false);
  EXPECT(MPI_Allreduce(&x, &y, -1, MPI_INT, MPI_SUM, comm) != MPI_SUCCESS, "a negative count is accepted");
  note(ALLREDUCE, comm, false);
  EXPECT(MPI_Allreduce(&x, &y, 1, MPI_FLOAT, MPI_BAND, comm) != MPI_SUCCESS, "MPI_BAND of MPI_FLOAT is accepted");
  MPI_Comm_get_errhandler(comm, &handler);
  EXPECT(handler == MPI_ERRORS_RETURN, "a communicator's error handler has changed");
  MPI_Errhandler_free(&handler);
  MPI_Comm_free(&comm);
}

// MARK: Attributes

static int copies, deletions;

static int copy_attribute(MPI_Comm comm, int key, void *extra, void *in, void *out, int *flag) {
  (void)comm, (void)key, (void)extra;
  *(void **)out = in;
  *flag = 1;
  copies++;
  return MPI_SUCCESS;
}

static int delete_attribute(MPI_Comm comm, int key, void *value, void *extra) {
  (void)comm, (void)key, (void)value, (void)extra;
  deletions++;
  return MPI_SUCCESS;
}

static void check_attributes(void) {
  int keyval, x = 1;
  MPI_Comm comm;
  MPI_Comm_dup(MPI_COMM_WORLD, &comm);
  MPI_Comm_create_keyval(copy_attribute, delete_attribute, &keyval, NULL);
  MPI_Comm_set_attr(comm, keyval, &x);
  allreduce(MPI_IN_PLACE, &x, 1, MPI_INT, MPI_SUM, comm, true);
  barrier(comm);
  EXPECT(copies == 0 && deletions == 0, "the program's attributes were copied");
  MPI_Comm_free(&comm);
  EXPECT(copies == 0 && deletions == 1, "%d copies and %d deletions of an attribute", copies, deletions);
  MPI_Comm_free_keyval(&keyval);
}

// MARK: Many communicators

static long resident_kilobytes(void) {
  long pages = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
  fclose(file);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static int open_files(void) {
  int count = 0;
  DIR *folder = opendir("/proc/self/fd");
  while (readdir(folder) != NULL) count++;
  closedir(folder);
  return count;
}

static int mappings(void) {
  int count = 0, c;
  FILE *file = fopen("/proc/self/maps", "r");
  while ((c = getc(file)) != EOF) count += c == '\n';
  fclose(file);
  return count;
}

static void check_many(int rounds) {
  long memory = 0;
  int files = 0, maps = 0;
  for (int round = 0; round < rounds; round++) {
    MPI_Comm split, copy;
    MPI_Comm_split(MPI_COMM_WORLD, world_size > 2 ? world_rank % 2 : 0, -world_rank, &split);
    MPI_Comm_dup(split, &copy);
    int size, ones[200];
    MPI_Comm_size(split, &size);
    for (int i = 0; i < 200; i++) ones[i] = round;
    allreduce(MPI_IN_PLACE, ones, 200, MPI_INT, MPI_SUM, split, true);
    allreduce(MPI_IN_PLACE, ones, round % 200 + 1, MPI_INT, MPI_SUM, copy, true);
    barrier(copy);
    EXPECT(ones[0] == round * size * size && ones[199] == round * size * (round % 200 == 199 ? size : 1),
           "round %d: %d and %d", round, ones[0], ones[199]);
    MPI_Comm_free(round % 2 ? &split : &copy);
    MPI_Comm_free(round % 2 ? &copy : &split);
    if (round == rounds / 5) {
      memory = resident_kilobytes();
      files = open_files();
      maps = mappings();
    }
  }
  EXPECT(resident_kilobytes() < memory + 4096, "memory grew from %ld to %ld KiB", memory, resident_kilobytes());
  EXPECT(open_files() <= files, "open files grew from %d to %d", files, open_files());
  EXPECT(mappings() < maps + 20, "mappings grew from %d to %d", maps, mappings());
}

// The same clock for all ranks of a host; MPI_Wtime starts at zero in each.
static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// MARK: Threads

struct job { MPI_Comm comm; int seed; int wrong; };

static void *sum_often(void *argument) {
  struct job *job = argument;
  int size;
  MPI_Comm_size(job->comm, &size);
  for (int round = 0; round < 300; round++) {
    int count = round % 7 == 0 ? 5000 : 1 + round % 50;
    long numbers[5000];
    for (int i = 0; i < count; i++) numbers[i] = job->seed + round + i;
    MPI_Allreduce(MPI_IN_PLACE, numbers, count, MPI_LONG, MPI_SUM, job->comm);
    for (int i = 0; i < count; i++)
      if (numbers[i] != (long)size * (job->seed + round + i)) job->wrong++;
    MPI_Barrier(job->comm);
  }
  return NULL;
}

static void check_threads(void) {
  struct job jobs[2] = {{.seed = 1}, {.seed = 1000}};
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) MPI_Comm_dup(MPI_COMM_WORLD, &jobs[i].comm);
  // The first calls, which open the communicators, come in either order.
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, sum_often, &jobs[(i + world_rank) % 2]);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 2; i++) {
    EXPECT(jobs[i].wrong == 0, "thread %d: %d wrong numbers", i, jobs[i].wrong);
    for (int k = 0; k < 300; k++) {
      note(ALLREDUCE, jobs[i].comm, true);
      note(BARRIER, jobs[i].comm, true);
    }
    MPI_Comm_free(&jobs[i].comm);
  }
}

int main(int argc, char **argv) {
  int provided, x = 0;
  int rounds = argc > 1 ? atoi(argv[1]) : 1000;
  // Before MPI's start nothing may be served; Open MPI ends the program at such calls, so there is none here.
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  MPI_Comm_size(MPI_COMM_WORLD, &world_size);
  make_elements();

  const int counts[] = {0, 1, 3, 1000, 100003}, few[] = {0, 1, 3, 1000};
  MPI_Comm split, copy;
  check_allreduce(MPI_COMM_WORLD, "world", counts, 5);
  MPI_Comm_split(MPI_COMM_WORLD, world_rank % 2, -world_rank, &split);
  check_allreduce(split, "split", few, 4);
  MPI_Comm_dup(MPI_COMM_WORLD, &copy);
  check_allreduce(copy, "copy", few, 4);
  MPI_Comm_free(&copy);
  check_allreduce(MPI_COMM_SELF, "self", few, 3);
  check_reduce_scatter(MPI_COMM_WORLD, few, 4);
  check_reduce_scatter(split, few, 4);
  const int lengths[] = {0, 1, 3, 1000, 5000, 100003};
  check_copies(MPI_COMM_WORLD, lengths, 6);
  check_copies(split, lengths, 5);
  check_gaps(MPI_COMM_WORLD);
  check_the_rest();
  check_errors();
  check_attributes();
  check_many(rounds);
  if (provided == MPI_THREAD_MULTIPLE) check_threads();

  // Nobody leaves a barrier before the last has come.
  for (int round = 0; round < 20; round++) {
    double entered = now(), last;
    if (round % world_size == world_rank) usleep(2000), entered = now();
    barrier(MPI_COMM_WORLD);
    double left = now();
    allreduce(&entered, &last, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD, true);
    EXPECT(left >= last - 1e-6, "left a barrier %g s before the last entered", last - left);
  }

  allreduce(&failures, &x, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, true);
  if (world_rank == 0) {
    for (int i = 0; i < FUNCTION_COUNT; i++) printf("expected %llu of %llu %s\n", served[i], calls[i], function_names[i]);
    printf("%d failures\n", x);
  }
  // The split communicator and the world are still open: MPI's end must give them back.
  MPI_Finalize();
  return x != 0;
}
