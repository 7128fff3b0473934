// SPDX-License-Identifier: MIT
// heap/sample_report.c - see sample_report.h.
#include "heap/sample_report.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "diag/diag.h"
#include "heap/block_history.h"
#include "heap/sample.h"
#include "heap/stack_text.h"
#include "os/os.h"

enum {
    REPORT_TEXT_BYTES = 4096,
    REPORT_FRAMES = 6,
    REPORT_WAIT_MS = 1000,
};

static struct {
    struct sigaction previous; // fixed once the handler is installed
    _Atomic uint32_t busy;     // a report is being written [SR-1]
    char text[REPORT_TEXT_BYTES];
} reporter;

struct report_text {
    char *buffer;
    size_t capacity_bytes, length_bytes;
};

HH_PRINTF(2, 3)
static void
report_add(struct report_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text->length_bytes +=
        hhi_diag_vformat(text->buffer + text->length_bytes,
                         text->capacity_bytes - text->length_bytes, format, arguments);
    va_end(arguments);
}

// ---- History ------------------------------------------------------------------------------------

static void
report_add_event(struct report_text *text, const char *what, struct hhi_sample_event *event)
{
    uintptr_t stack[HHI_SAMPLE_STACK_WORDS];
    // relaxed (all): as far as the slot's state has published them; for a report.
    uint32_t words = hh_load_relaxed(&event->words);
    if (words > HHI_SAMPLE_STACK_WORDS)
        words = HHI_SAMPLE_STACK_WORDS;
    for (uint32_t at = 0; at < words; at++)
        stack[at] = hh_load_relaxed(&event->stack[at]);
    report_add(text, "\n  %s by thread %u", what, hh_load_relaxed(&event->thread));
    text->length_bytes +=
        hhi_stack_text(text->buffer + text->length_bytes, text->capacity_bytes - text->length_bytes,
                       stack, words, REPORT_FRAMES);
}

static void
report_add_history(struct report_text *text, struct hhi_sample_slot *slot)
{
    report_add_event(text, "allocated", &slot->allocated);
    // relaxed: as above.
    if (hh_load_relaxed(&slot->freed.thread) != 0)
        report_add_event(text, "freed", &slot->freed);
}

size_t
hhi_sample_history(char *text, size_t capacity_bytes, const void *address)
{
    struct report_text lines = {text, capacity_bytes, 0};
    struct hhi_sample_slot *slot = hhi_sample_find(address);
    // relaxed: as above.
    if (slot != NULL && hh_load_relaxed(&slot->allocated.thread) != 0)
        report_add_history(&lines, slot);
    return lines.length_bytes;
}

// ---- Faults -------------------------------------------------------------------------------------

static const char *
fault_access(const void *context)
{
#if defined(__x86_64__)
    const ucontext_t *machine = context;
    return (machine->uc_mcontext.gregs[REG_ERR] & 2) != 0 ? "write to" : "read of";
#else
    (void)context;
    return "access to";
#endif
}

static void
fault_describe(struct report_text *text, const void *address, const void *context)
{
    struct hhi_sample_slot *slot = hhi_sample_find(address);
    uint32_t thread = (uint32_t)hhi_os_thread_id();
    if (slot == NULL) {
        report_add(text, "hostheap: %s guard page %p by thread %u\n", fault_access(context),
                   address, thread);
        return;
    }
    // relaxed (all): as in report_add_event.
    uintptr_t base = hh_load_relaxed(&slot->base), at = (uintptr_t)address;
    size_t size_bytes = hh_load_relaxed(&slot->size_bytes);
    bool ended = (hh_load_relaxed(&slot->state) & HHI_SAMPLE_STATE_MASK) == HHI_SAMPLE_ENDED;
    bool before = at < base, after = at >= base + size_bytes;
    report_add(text, "hostheap: %s: %s %p by thread %u\n",
               ended    ? "use after free"
               : before ? "underflow"
                        : "overflow",
               fault_access(context), address, thread);
    report_add(text, "  block: %p, %zu bytes, heap %llu; the address is %zu bytes %s", (void *)base,
               size_bytes, (unsigned long long)hh_load_relaxed(&slot->heap_id),
               before  ? (size_t)(base - at)
               : after ? (size_t)(at - base - size_bytes)
                       : (size_t)(at - base),
               before  ? "before it"
               : after ? "past its end"
                       : "into it");
    report_add_history(text, slot);
    report_add(text, "\n");
}

static void
fault_report(const void *address, const void *context)
{
    uint32_t idle = 0;
    // Another thread's report is not cut short by what this thread does next.
    // order: acquire [SR-1] the buffer.
    for (unsigned waited = 0; !hh_cas_strong_acquire(&reporter.busy, &idle, 1); waited++) {
        if (waited == REPORT_WAIT_MS)
            return;
        hhi_os_sleep_ms(1);
        idle = 0;
    }
    struct report_text text = {reporter.text, sizeof reporter.text, 0};
    if (hhi_sample_contains(address))
        fault_describe(&text, address, context);
    else
        text.length_bytes =
            hhi_block_fault_text(text.buffer, text.capacity_bytes, fault_access(context), address);
    hhi_diag_write(text.buffer, text.length_bytes);
    // order: release [SR-1] the buffer.
    hh_store_release(&reporter.busy, 0);
}

// Do what would have happened without this handler.
static void
fault_pass_on(int number, siginfo_t *info, void *context)
{
    const struct sigaction *previous = &reporter.previous;
    if ((previous->sa_flags & SA_SIGINFO) != 0) {
        previous->sa_sigaction(number, info, context);
    } else if (previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN) {
        previous->sa_handler(number);
    } else if (previous->sa_handler == SIG_DFL || info->si_code > 0) {
        // A fault can not be ignored. It happens again at once, a signal that was sent does not.
        struct sigaction fallback = {.sa_handler = SIG_DFL};
        sigaction(number, &fallback, NULL);
        if (info->si_code <= 0)
            raise(number);
    }
}

static void
fault_handle(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    if (info->si_code > 0 && (hhi_sample_contains(info->si_addr) || hhi_block_fault(info->si_addr)))
        fault_report(info->si_addr, context);
    errno = saved_errno;
    fault_pass_on(number, info, context);
}

void
hhi_sample_catch_faults(void)
{
    int saved_errno = errno;
    if (sigaction(SIGSEGV, NULL, &reporter.previous) == 0) {
        struct sigaction action = {.sa_sigaction = fault_handle};
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | (reporter.previous.sa_flags & SA_NODEFER);
        action.sa_mask = reporter.previous.sa_mask;
        sigaction(SIGSEGV, &action, NULL);
    }
    errno = saved_errno;
}

void
hhi_sample_report_reset(void)
{
    // relaxed: the only thread of the process.
    hh_store_relaxed(&reporter.busy, 0);
}
