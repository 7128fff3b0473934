// SPDX-License-Identifier: MIT
// override/trace.c - see trace.h.
#include "override/trace.h"

#include "base/bits.h"
#include "base/check.h"
#include "diag/diag.h"
#include "heap/thread_cache.h"
#include "options/options.h"
#include "os/lock.h"
#include "os/os.h"
#include "os/os_kept_file.h"
#include "override/front.h"
#include "process/process.h"

enum trace_kind {
    TRACE_MALLOC,
    TRACE_FREE,
    TRACE_CALLOC,
    TRACE_REALLOC_END,
    TRACE_ALIGNED,
    TRACE_REALLOC_BEGIN,
};

// As it stands in the file, in the machine's byte order.
struct trace_event {
    uint8_t kind;
    uint8_t alignment_log2;
    uint16_t unused;
    uint32_t thread; // the kernel's number
    uint64_t size_bytes;
    uint64_t block; // its address
};
static_assert(sizeof(struct trace_event) == 24, "the format of the file");

static const char trace_head[sizeof(struct trace_event)] = "hostheap recording 1\n";

enum { TRACE_BUFFER_EVENTS = 2048 };

_Atomic uint8_t hhi_tracing HH_START_STATE;

static struct {
    struct hhi_lock lock; // taken before all others
    bool begun;           // under the lock of the process's start
    // Under lock:
    struct hhi_kept_file file;
    uint32_t left;  // events that may still come
    uint32_t count; // in buffer
    struct trace_event buffer[TRACE_BUFFER_EVENTS];
} trace;

// ---- Begin and end ------------------------------------------------------------------------------

// From here on, threads get caches of their own and are fast.
static void
trace_stop(void)
{
    // relaxed (both): a thread that sees it late asks once more.
    hh_store_relaxed(&hhi_tracing, 0);
    hh_store_relaxed(&hhi_threads_borrow, 0);
}

static void
trace_write(const void *data, size_t size_bytes)
{
    if (hhi_kept_file_write(&trace.file, data, size_bytes))
        return;
    hhi_diag_report("trace: the file can not be written any more, recording ends");
    trace_stop();
}

static void
trace_flush(void)
{
    if (trace.count != 0)
        trace_write(trace.buffer, trace.count * sizeof trace.buffer[0]);
    trace.count = 0;
}

// Takes the place of the library's, which does nothing.
void
hhi_process_options_read(void)
{
    char path[HHI_OPTION_PATH_BYTES + 16];
    if (hhi_opt.trace[0] == '\0' || trace.begun)
        return;
    trace.begun = true;
    if (FRONT_CHECKED) {
        hhi_diag_report("trace: the checked library does not record");
        return;
    }
    hhi_diag_format(path, sizeof path, "%s.%d", hhi_opt.trace, (int)hhi_os_process_id());
    int result = hhi_kept_file_create(&trace.file, path);
    if (result != 0) {
        hhi_diag_report("trace: can not create %s (error %d), nothing is recorded", path, -result);
        return;
    }
    trace.left = hhi_opt.trace_calls;
    // relaxed (both): no other thread is in the library yet.
    hh_store_relaxed(&hhi_threads_borrow, 1);
    hh_store_relaxed(&hhi_tracing, 1);
    trace_write(trace_head, sizeof trace_head);
}

// In the child the file and what is in the buffer are the parent's.
static void
trace_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&trace.lock, step);
    if (step != HHI_FORK_CHILD)
        return;
    trace.count = 0;
    hhi_kept_file_close(&trace.file);
    trace_stop();
}

__attribute__((constructor(101))) static void
trace_construct(void)
{
    (void)hhi_process_start();
    if (!hhi_trace_on())
        return;
    // A child would write into its parent's file.
    if (!hhi_process_watch_forks_first(trace_fork)) {
        hhi_diag_report("trace: no memory to be told of forks, nothing is recorded");
        trace.count = 0;
        trace_stop();
    }
}

// What is called after this is recorded only if it fills a buffer.
__attribute__((destructor(101))) static void
trace_destruct(void)
{
    if (hhi_opt.trace[0] == '\0')
        return;
    hhi_lock_enter(&trace.lock);
    trace_flush();
    hhi_lock_leave(&trace.lock);
}

// ---- Events -------------------------------------------------------------------------------------

static void
trace_note(struct trace_event event)
{
    hhi_lock_enter(&trace.lock);
    // relaxed: written under the lock.
    if (hh_load_relaxed(&hhi_tracing) != 0) {
        event.thread = (uint32_t)hhi_os_thread_id();
        trace.buffer[trace.count++] = event;
        trace.left--;
        if (trace.count == TRACE_BUFFER_EVENTS || trace.left == 0)
            trace_flush();
        if (trace.left == 0)
            trace_stop();
    }
    hhi_lock_leave(&trace.lock);
}

static void
trace_note_block(enum trace_kind kind, const void *block, size_t size_bytes)
{
    trace_note((struct trace_event){
        .kind = (uint8_t)kind, .size_bytes = size_bytes, .block = (uintptr_t)block});
}

void
hhi_trace_malloc(const void *block, size_t size_bytes)
{
    if (block != NULL)
        trace_note_block(TRACE_MALLOC, block, size_bytes);
}

void
hhi_trace_calloc(const void *block, size_t size_bytes)
{
    if (block != NULL)
        trace_note_block(TRACE_CALLOC, block, size_bytes);
}

void
hhi_trace_aligned(const void *block, size_t alignment_bytes, size_t size_bytes)
{
    if (block == NULL)
        return;
    trace_note((struct trace_event){.kind = TRACE_ALIGNED,
                                    .alignment_log2 = (uint8_t)hh_log2_ceil(alignment_bytes),
                                    .size_bytes = size_bytes,
                                    .block = (uintptr_t)block});
}

void
hhi_trace_free(const void *block)
{
    trace_note_block(TRACE_FREE, block, 0);
}

void
hhi_trace_realloc_begin(const void *block)
{
    trace_note_block(TRACE_REALLOC_BEGIN, block, 0);
}

void
hhi_trace_realloc_end(const void *result, size_t size_bytes)
{
    trace_note_block(TRACE_REALLOC_END, result, size_bytes);
}
