// MPI's profiling interface: a program's calls of MPI_… arrive here, since this library is loaded before MPI's; the
// same functions are MPI's own under the names PMPI_….
//
// Whether ours serve a call must be decided alike on all ranks, or some would wait for messages that the others never
// send. So only what MPI requires to be the same on all of them counts: the communicator, the operation, the type
// where it is a predefined one, the number of bytes. Never an address, nor whether a buffer is `MPI_IN_PLACE`. Wrong
// arguments are the exception: MPI finds them before it sends anything, and reports them as it always does.

#include "handles.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// MARK: Counting

enum function { ALLREDUCE, BARRIER, FUNCTION_COUNT };
static const char *const names[FUNCTION_COUNT] = {"MPI_Allreduce", "MPI_Barrier"};
static _Atomic uint64_t calls[FUNCTION_COUNT], served[FUNCTION_COUNT];
static bool is_verbose;

static void print_counts(void) {
  int rank;
  if (PMPI_Comm_rank(MPI_COMM_WORLD, &rank) != MPI_SUCCESS || rank != 0) return;
  char line[512];
  int length = snprintf(line, sizeof line, "RingTrain served");
  for (int i = 0; i < FUNCTION_COUNT; i++)
    length += snprintf(line + length, sizeof line - (size_t)length, "%s %llu of %llu %s", i ? "," : "",
                       (unsigned long long)served[i], (unsigned long long)calls[i], names[i]);
  fprintf(stderr, "%s\n", line);
}

// MARK: Communicators

// What we know of a communicator: an attribute of it, so that MPI tells us when it is freed.
struct entry {
  // NULL where ours don't serve it: one rank, or an intercommunicator.
  void *opened;
  bool has_barrier;
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
  int is_inter = 0, size = 0;
  int code = PMPI_Comm_test_inter(comm, &is_inter);
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
    entry->has_barrier = ringtrain_has_barrier(entry->opened);
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

// MARK: The functions

// Counts the call and looks the communicator up. Where ours can't serve it, `entry` is NULL.
static int enter(enum function function, MPI_Comm comm, bool is_ours, struct entry **entry) {
  *entry = NULL;
  if (is_inside) return MPI_SUCCESS;
  atomic_fetch_add_explicit(&calls[function], 1, memory_order_relaxed);
  if (!is_ours || comm == MPI_COMM_NULL || !is_active()) return MPI_SUCCESS;
  int code = find_entry(comm, entry);
  if (*entry != NULL && (*entry)->opened == NULL) *entry = NULL;
  return code;
}

// What the program gets: an error goes through its communicator's handler, as MPI's own would.
static int leave(enum function function, MPI_Comm comm, int code) {
  is_inside = false;
  atomic_fetch_add_explicit(&served[function], 1, memory_order_relaxed);
  if (code != MPI_SUCCESS) PMPI_Comm_call_errhandler(comm, code);
  return code;
}

int MPI_Allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm) {
  uint8_t our_type = 0, our_operation = 0;
  struct entry *entry;
  bool is_valid = count > 0 && send != NULL && receive != NULL && receive != MPI_IN_PLACE;
  int code = enter(
    ALLREDUCE, comm, is_valid && rt_reduction(type, operation, &our_type, &our_operation), &entry);
  if (code != MPI_SUCCESS) return code;
  if (entry == NULL) return PMPI_Allreduce(send, receive, count, type, operation, comm);
  is_inside = true;
  if (send != MPI_IN_PLACE && send != receive) {
    int size = 0;
    PMPI_Type_size(type, &size);
    memcpy(receive, send, (size_t)count * (size_t)size);
  }
  return leave(ALLREDUCE, comm, ringtrain_allreduce(entry->opened, receive, count, our_type, our_operation));
}

int MPI_Barrier(MPI_Comm comm) {
  struct entry *entry;
  int code = enter(BARRIER, comm, true, &entry);
  if (code != MPI_SUCCESS) return code;
  if (entry == NULL || !entry->has_barrier) return PMPI_Barrier(comm);
  is_inside = true;
  return leave(BARRIER, comm, ringtrain_barrier(entry->opened));
}
