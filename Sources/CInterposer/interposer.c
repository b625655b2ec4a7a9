// MPI's profiling interface: a program's calls of MPI_… arrive here, since this library is loaded before MPI's; the
// same functions are MPI's own under the names PMPI_….
//
// Whether ours serve a call must be decided alike on all ranks, or some would wait for messages that the others never
// send. So only what MPI requires to be the same on all of them counts: the communicator, the root, the operation and,
// with it, the type, which must then be predefined. Never an address, nor whether a buffer is `MPI_IN_PLACE`. Where
// nothing is reduced, ranks may describe the same data by different types, predefined or their own; only the number of
// bytes is common to all. So these calls are decided by that number alone, and whoever has a type of its own packs and
// unpacks. Wrong arguments are the exception: MPI finds them before it sends anything, and reports them as ever.

#include "handles.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// MARK: Counting

static const char *const names[RT_FUNCTION_COUNT] = {
  "MPI_Allreduce", "MPI_Barrier", "MPI_Bcast", "MPI_Allgather", "MPI_Reduce_scatter_block"};
static _Atomic uint64_t calls[RT_FUNCTION_COUNT], served[RT_FUNCTION_COUNT];
static bool is_verbose;

static void print_counts(void) {
  int rank;
  if (PMPI_Comm_rank(MPI_COMM_WORLD, &rank) != MPI_SUCCESS || rank != 0) return;
  char line[512];
  int length = snprintf(line, sizeof line, "RingTrain served");
  for (int i = 0; i < RT_FUNCTION_COUNT; i++)
    length += snprintf(line + length, sizeof line - (size_t)length, "%s %llu of %llu %s", i ? "," : "",
                       (unsigned long long)served[i], (unsigned long long)calls[i], names[i]);
  fprintf(stderr, "%s\n", line);
}

// MARK: Communicators

// What we know of a communicator: an attribute of it, so that MPI tells us when it is freed.
struct entry {
  // NULL where ours don't serve it: one rank, or an intercommunicator.
  void *opened;
  int rank, size;
  struct entry *previous, *next;
};

// Before the first call between MPI's start and its end; between; from its end on, or if we were told to keep out.
enum { UNUSED, ACTIVE, RETIRED };
static _Atomic int state = UNUSED;
// Guards the list and the state's changes. Never held while ours communicate: the other ranks may open two
// communicators in another order, on two threads.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry entries = {.previous = &entries, .next = &entries};
static int keyval = MPI_KEYVAL_INVALID, end_keyval = MPI_KEYVAL_INVALID;
// Counts freed communicators: a handle may come back for another one.
static _Atomic uint64_t generation = 1;
// Set while ours run: what they ask of MPI goes to MPI.
static __thread bool is_inside;
static __thread struct { MPI_Comm comm; struct entry *entry; uint64_t generation; } last;

static void close_entry(struct entry *entry) {
  if (entry->opened == NULL) return;
  is_inside = true;
  ringtrain_close(entry->opened);
  is_inside = false;
  entry->opened = NULL;
}

// MPI calls it when a communicator of ours is freed; all its ranks free it.
static int forget(MPI_Comm comm, int key, void *value, void *extra) {
  (void)comm, (void)key, (void)extra;
  struct entry *entry = value;
  pthread_mutex_lock(&lock);
  entry->previous->next = entry->next;
  entry->next->previous = entry->previous;
  pthread_mutex_unlock(&lock);
  atomic_fetch_add(&generation, 1);
  close_entry(entry);
  free(entry);
  return MPI_SUCCESS;
}

// MPI_Finalize begins by deleting the attributes of MPI_COMM_SELF: the last moment at which MPI may be used, whichever
// language's MPI_Finalize the program called. Communicators that it never freed, the world among them, are given back
// here, in the order in which they were opened.
static int retire(MPI_Comm comm, int key, void *value, void *extra) {
  (void)comm, (void)key, (void)value, (void)extra;
  atomic_store(&state, RETIRED);
  for (struct entry *entry = entries.next; entry != &entries; entry = entry->next) close_entry(entry);
  if (is_verbose) print_counts();
  return MPI_SUCCESS;
}

// Whether ours may serve at all.
static bool is_active(void) {
  int now = atomic_load_explicit(&state, memory_order_acquire);
  if (now != UNUSED) return now == ACTIVE;
  int is_running = 0, has_ended = 0;
  PMPI_Initialized(&is_running);
  PMPI_Finalized(&has_ended);
  if (!is_running || has_ended) return false;
  pthread_mutex_lock(&lock);
  if (state == UNUSED) {
    const char *wish = getenv("RINGTRAIN_MPI");
    is_verbose = wish != NULL && strcmp(wish, "verbose") == 0;
    bool is_off = wish != NULL && strcmp(wish, "off") == 0;
    bool is_ready = !is_off
                    && PMPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, forget, &keyval, NULL) == MPI_SUCCESS
                    && PMPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, retire, &end_keyval, NULL) == MPI_SUCCESS
                    && PMPI_Comm_set_attr(MPI_COMM_SELF, end_keyval, NULL) == MPI_SUCCESS;
    atomic_store_explicit(&state, is_ready ? ACTIVE : RETIRED, memory_order_release);
  }
  pthread_mutex_unlock(&lock);
  return state == ACTIVE;
}

// The first call on a communicator: collective if ours can serve it.
static int open_entry(MPI_Comm comm, struct entry **found) {
  int is_inter = 0, rank = 0, size = 0;
  int code = PMPI_Comm_test_inter(comm, &is_inter);
  if (code == MPI_SUCCESS) code = PMPI_Comm_rank(comm, &rank);
  if (code == MPI_SUCCESS) code = PMPI_Comm_size(comm, &size);
  if (code != MPI_SUCCESS) return code;
  struct entry *entry = calloc(1, sizeof *entry);
  if (entry == NULL) return PMPI_Comm_call_errhandler(comm, MPI_ERR_NO_MEM), MPI_ERR_NO_MEM;
  if (!is_inter && size > 1) {
    is_inside = true;
    code = ringtrain_open(comm, &entry->opened);
    is_inside = false;
    if (code != MPI_SUCCESS) {
      free(entry);
      PMPI_Comm_call_errhandler(comm, code);
      return code;
    }
    entry->rank = rank;
    entry->size = size;
  }
  pthread_mutex_lock(&lock);
  entry->previous = entries.previous;
  entry->next = &entries;
  entries.previous->next = entry;
  entries.previous = entry;
  pthread_mutex_unlock(&lock);
  *found = entry;
  return PMPI_Comm_set_attr(comm, keyval, entry);
}

// What ours keep for a communicator; NULL where they don't serve it. MPI has called the error handler when this
// returns an error.
static int find_entry(MPI_Comm comm, struct entry **found) {
  uint64_t now = atomic_load_explicit(&generation, memory_order_acquire);
  if (comm == last.comm && now == last.generation) {
    *found = last.entry;
    return MPI_SUCCESS;
  }
  int is_known = 0;
  int code = PMPI_Comm_get_attr(comm, keyval, found, &is_known);
  if (code == MPI_SUCCESS && !is_known) code = open_entry(comm, found);
  if (code != MPI_SUCCESS) return code;
  last.comm = comm;
  last.entry = *found;
  last.generation = now;
  return MPI_SUCCESS;
}

// MARK: Types

static int64_t byte_count(int count, MPI_Datatype type) {
  int size;
  if (count <= 0 || type == MPI_DATATYPE_NULL || PMPI_Type_size(type, &size) != MPI_SUCCESS) return 0;
  return (int64_t)count * size;
}

// Whether the elements of a type lie in memory as they would packed: those of MPI's own types, without gaps.
static bool is_plain(MPI_Datatype type) {
  int integers, addresses, types, combiner, size;
  MPI_Aint lower, extent;
  return PMPI_Type_get_envelope(type, &integers, &addresses, &types, &combiner) == MPI_SUCCESS
         && combiner == MPI_COMBINER_NAMED && PMPI_Type_size(type, &size) == MPI_SUCCESS
         && PMPI_Type_get_extent(type, &lower, &extent) == MPI_SUCCESS && lower == 0 && extent == size;
}

static int pack(const void *from, int count, MPI_Datatype type, void *to, int64_t bytes, MPI_Comm comm) {
  int position = 0;
  return PMPI_Pack(from, count, type, to, (int)bytes, &position, comm);
}

static int unpack(const void *from, int64_t bytes, void *to, int count, MPI_Datatype type, MPI_Comm comm) {
  int position = 0;
  return PMPI_Unpack(from, (int)bytes, &position, to, count, type, comm);
}

// MARK: The functions

static void count_call(enum rt_function function) {
  if (!is_inside) atomic_fetch_add_explicit(&calls[function], 1, memory_order_relaxed);
}

// Looks the communicator up. `entry` is NULL where MPI has to do it.
static int enter(enum rt_function function, MPI_Comm comm, int64_t bytes_per_rank, struct entry **entry) {
  *entry = NULL;
  if (is_inside || comm == MPI_COMM_NULL || !is_active()) return MPI_SUCCESS;
  int code = find_entry(comm, entry);
  if (code != MPI_SUCCESS || (*entry)->opened == NULL || !ringtrain_serves((*entry)->opened, function, bytes_per_rank))
    *entry = NULL;
  else
    is_inside = true;
  return code;
}

// What the program gets: an error goes through its communicator's handler, as one of MPI's own would.
static int leave(enum rt_function function, MPI_Comm comm, int code) {
  is_inside = false;
  atomic_fetch_add_explicit(&served[function], 1, memory_order_relaxed);
  if (code != MPI_SUCCESS) PMPI_Comm_call_errhandler(comm, code);
  return code;
}

int MPI_Allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm) {
  count_call(RT_ALLREDUCE);
  struct entry *entry = NULL;
  uint8_t our_type, our_operation;
  if (count > 0 && send != NULL && receive != NULL && receive != MPI_IN_PLACE
      && rt_reduction(type, operation, &our_type, &our_operation)) {
    int code = enter(RT_ALLREDUCE, comm, byte_count(count, type), &entry);
    if (code != MPI_SUCCESS) return code;
  }
  if (entry == NULL) return PMPI_Allreduce(send, receive, count, type, operation, comm);
  return leave(
    RT_ALLREDUCE, comm,
    ringtrain_allreduce(
      entry->opened, send == MPI_IN_PLACE ? receive : send, receive, count, our_type, our_operation));
}

int MPI_Barrier(MPI_Comm comm) {
  count_call(RT_BARRIER);
  struct entry *entry;
  int code = enter(RT_BARRIER, comm, 0, &entry);
  if (code != MPI_SUCCESS) return code;
  if (entry == NULL) return PMPI_Barrier(comm);
  return leave(RT_BARRIER, comm, ringtrain_barrier(entry->opened));
}

static int broadcast(struct entry *entry, void *buffer, int count, MPI_Datatype type, int root, MPI_Comm comm) {
  int64_t bytes = byte_count(count, type);
  if (is_plain(type)) return ringtrain_broadcast(entry->opened, buffer, bytes, root);
  void *packed = malloc((size_t)bytes);
  if (packed == NULL) return MPI_ERR_NO_MEM;
  int code = entry->rank == root ? pack(buffer, count, type, packed, bytes, comm) : MPI_SUCCESS;
  if (code == MPI_SUCCESS) code = ringtrain_broadcast(entry->opened, packed, bytes, root);
  if (code == MPI_SUCCESS && entry->rank != root) code = unpack(packed, bytes, buffer, count, type, comm);
  free(packed);
  return code;
}

int MPI_Bcast(void *buffer, int count, MPI_Datatype type, int root, MPI_Comm comm) {
  count_call(RT_BROADCAST);
  struct entry *entry = NULL;
  int64_t bytes = byte_count(count, type);
  // MPI_Pack has 32-bit sizes.
  if (bytes > 0 && bytes <= INT32_MAX && buffer != MPI_IN_PLACE && root >= 0) {
    int code = enter(RT_BROADCAST, comm, bytes, &entry);
    if (code != MPI_SUCCESS) return code;
    if (entry != NULL && root >= entry->size) {
      is_inside = false;
      entry = NULL;
    }
  }
  if (entry == NULL) return PMPI_Bcast(buffer, count, type, root, comm);
  return leave(RT_BROADCAST, comm, broadcast(entry, buffer, count, type, root, comm));
}

static int allgather(
  struct entry *entry, const void *send, int send_count, MPI_Datatype send_type, void *receive, int receive_count,
  MPI_Datatype receive_type, MPI_Comm comm) {
  int64_t bytes = byte_count(receive_count, receive_type), total = bytes * entry->size;
  if (send != MPI_IN_PLACE && byte_count(send_count, send_type) != bytes) return MPI_ERR_TRUNCATE;
  bool receives_plain = is_plain(receive_type);
  char *all = receives_plain ? receive : malloc((size_t)total);
  if (all == NULL) return MPI_ERR_NO_MEM;
  char *mine = all + entry->rank * bytes;
  int code = MPI_SUCCESS;
  if (send != MPI_IN_PLACE) {
    if (is_plain(send_type))
      memmove(mine, send, (size_t)bytes);
    else
      code = pack(send, send_count, send_type, mine, bytes, comm);
  } else if (!receives_plain) {
    MPI_Aint lower, extent;
    PMPI_Type_get_extent(receive_type, &lower, &extent);
    code = pack(
      (char *)receive + entry->rank * (MPI_Aint)receive_count * extent, receive_count, receive_type, mine, bytes, comm);
  }
  if (code == MPI_SUCCESS) code = ringtrain_allgather(entry->opened, all, bytes);
  if (!receives_plain) {
    // The ranks' parts follow each other as elements of one array do.
    if (code == MPI_SUCCESS)
      code = unpack(all, total, receive, receive_count * entry->size, receive_type, comm);
    free(all);
  }
  return code;
}

int MPI_Allgather(
  const void *send, int send_count, MPI_Datatype send_type, void *receive, int receive_count,
  MPI_Datatype receive_type, MPI_Comm comm) {
  count_call(RT_ALLGATHER);
  struct entry *entry = NULL;
  int64_t bytes = byte_count(receive_count, receive_type);
  bool sends = send == MPI_IN_PLACE || (send_count >= 0 && send_type != MPI_DATATYPE_NULL);
  if (bytes > 0 && receive != MPI_IN_PLACE && sends) {
    int code = enter(RT_ALLGATHER, comm, bytes, &entry);
    if (code != MPI_SUCCESS) return code;
    // MPI_Pack has 32-bit sizes.
    if (entry != NULL && bytes * entry->size > INT32_MAX) {
      is_inside = false;
      entry = NULL;
    }
  }
  if (entry == NULL) return PMPI_Allgather(send, send_count, send_type, receive, receive_count, receive_type, comm);
  return leave(
    RT_ALLGATHER, comm, allgather(entry, send, send_count, send_type, receive, receive_count, receive_type, comm));
}

int MPI_Reduce_scatter_block(
  const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm) {
  count_call(RT_REDUCE_SCATTER_BLOCK);
  struct entry *entry = NULL;
  uint8_t our_type, our_operation;
  int64_t bytes = byte_count(count, type);
  if (bytes > 0 && send != NULL && receive != NULL && receive != MPI_IN_PLACE
      && rt_reduction(type, operation, &our_type, &our_operation)) {
    int code = enter(RT_REDUCE_SCATTER_BLOCK, comm, bytes, &entry);
    if (code != MPI_SUCCESS) return code;
  }
  if (entry == NULL) return PMPI_Reduce_scatter_block(send, receive, count, type, operation, comm);
  int code = MPI_ERR_NO_MEM;
  if (send != MPI_IN_PLACE && send != receive) {
    code = ringtrain_reduce_scatter_block(entry->opened, send, receive, count, our_type, our_operation);
  } else {
    // The result goes where the elements come from.
    void *part = malloc((size_t)bytes);
    if (part != NULL) {
      code = ringtrain_reduce_scatter_block(entry->opened, receive, part, count, our_type, our_operation);
      memcpy(receive, part, (size_t)bytes);
    }
    free(part);
  }
  return leave(RT_REDUCE_SCATTER_BLOCK, comm, code);
}
