// SPDX-License-Identifier: MIT
/*
 * os/os_mapping.c - what the kernel has mapped where.
 *
 * PROCMAP_QUERY (Linux 6.11) answers one address on a descriptor of /proc/self/maps in half a
 * microsecond. Older kernels are asked by reading the file, through a buffer on the stack.
 *
 * The kept descriptor: opening takes longer than asking, so one is kept. The program may close it
 * and get its number for another file, and in the child of a fork it describes the parent: before
 * each use its device, inode and process are compared with what was noted when it was opened. One
 * that fails is replaced; a thread that finds another one replacing it uses a descriptor of its own
 * for that one question.
 *
 * Memory ordering
 *   OM-1  keep index: the thread that noted a descriptor -> those that use it: the note's fields.
 */
#include "os/os.h"

#include <errno.h>
#include <sys/stat.h>

#include "os/os_kept_file.h"
#include "os/syscall.h"

// From the kernel's documentation of PROCMAP_QUERY; Debian 12's headers are older.
struct mapping_query {
    uint64_t size, flags, address;
    uint64_t start, end, vma_flags, page_size, offset, inode;
    uint32_t device_major, device_minor, name_size, build_id_size;
    uint64_t name_address, build_id_address;
};
_Static_assert(sizeof(struct mapping_query) == 104, "layout of the kernel's procmap_query");
#define MAPPING_QUERY 0xC0686611ul // _IOWR('f', 17, struct mapping_query)
enum { MAPPING_QUERY_NEXT_TOO = 0x10, MAPPING_SHARED = 0x8 };

// A descriptor and what it was opened as. Written by one thread at a time, read by any: a mix of
// two notes fails the comparison, since no two open files share all fields.
struct mapping_note {
    _Atomic int descriptor; // [OM-1]
    _Atomic int process;    // [OM-1]
    _Atomic uint64_t device, inode;
};

enum { MAPPING_NOTES = 8 };

static struct {
    struct mapping_note notes[MAPPING_NOTES]; // used in turn
    _Atomic uint32_t newest;                  // 0 = none, else turn number [OM-1]
    _Atomic int replacing;                    // number of the process in which a thread is at it
    _Atomic(bool) no_query;                   // the kernel does not know PROCMAP_QUERY
} mapping;

static bool
descriptor_identity(int descriptor, uint64_t *device, uint64_t *inode)
{
    struct stat status = {0};
    if (HHI_SYSCALL2(SYS_fstat, descriptor, &status) != 0)
        return false;
    *device = status.st_dev;
    *inode = status.st_ino;
    return true;
}

static int
maps_open(void)
{
    return hhi_os.open("/proc/self/maps");
}

// The kept descriptor if it still is what it was, else -1.
static int
kept_descriptor(void)
{
    // order: acquire [OM-1] reads the note.
    uint32_t turn = hh_load_acquire(&mapping.newest);
    if (turn == 0)
        return -1;
    struct mapping_note *note = &mapping.notes[turn % MAPPING_NOTES];
    // relaxed: ordered by the load above, or of a newer note, see the struct.
    int descriptor = hh_load_relaxed(&note->descriptor);
    bool same_process = hh_load_relaxed(&note->process) == hhi_os_process_id();
    uint64_t device, inode;
    if (!same_process || !descriptor_identity(descriptor, &device, &inode))
        return -1;
    bool same = device == hh_load_relaxed(&note->device) && inode == hh_load_relaxed(&note->inode);
    return same ? descriptor : -1;
}

// Close the parent's descriptor in the child of a fork, if it still is that one.
static void
descriptor_drop_inherited(void)
{
    // relaxed: only the thread that replaces the note comes here.
    struct mapping_note *note = &mapping.notes[hh_load_relaxed(&mapping.newest) % MAPPING_NOTES];
    int descriptor = hh_load_relaxed(&note->descriptor);
    int process = hh_load_relaxed(&note->process);
    uint64_t device, inode;
    if (process == 0 || process == hhi_os_process_id())
        return;
    if (descriptor_identity(descriptor, &device, &inode) &&
        device == hh_load_relaxed(&note->device) && inode == hh_load_relaxed(&note->inode))
        hhi_os_close(descriptor);
}

// Keep a descriptor just opened. False: another thread is at it, and the caller closes its own.
static bool
descriptor_keep(int descriptor)
{
    uint64_t device, inode;
    // relaxed: a guess for the swap. In the child of a fork another number is a lost thread's, who is not.
    int self = hhi_os_process_id(), replacing = hh_load_relaxed(&mapping.replacing);
    // order: acquire [OM-1] after the last thread that replaced it.
    if (replacing == self || !hh_cas_strong_acquire(&mapping.replacing, &replacing, self))
        return false;
    bool known = descriptor_identity(descriptor, &device, &inode);
    if (known) {
        descriptor_drop_inherited();
        // relaxed: published by newest; one thread at a time.
        uint32_t turn = hh_load_relaxed(&mapping.newest) + 1;
        turn += turn == 0;
        struct mapping_note *note = &mapping.notes[turn % MAPPING_NOTES];
        hh_store_relaxed(&note->descriptor, descriptor);
        hh_store_relaxed(&note->process, hhi_os_process_id());
        hh_store_relaxed(&note->device, device);
        hh_store_relaxed(&note->inode, inode);
        // order: release [OM-1] publishes the note.
        hh_store_release(&mapping.newest, turn);
    }
    // order: release [OM-1] to the next thread that replaces it.
    hh_store_release(&mapping.replacing, 0);
    return known;
}

static int
query_descriptor(int descriptor, uintptr_t address, struct hhi_os_mapping *found)
{
    struct mapping_query query = {
        .size = sizeof query, .flags = MAPPING_QUERY_NEXT_TOO, .address = address};
    int result;
    do {
        result = hhi_os.control(descriptor, MAPPING_QUERY, &query);
    } while (result == -EINTR);
    if (result != 0)
        return result;
    *found = (struct hhi_os_mapping){
        .start = query.start,
        .end = query.end,
        .access =
            (unsigned)query.vma_flags & (HHI_ACCESS_READ | HHI_ACCESS_WRITE | HHI_ACCESS_EXECUTE),
        .shared = (query.vma_flags & MAPPING_SHARED) != 0,
        .file = query.inode != 0,
    };
    return 0;
}

// ---- The text of /proc/self/maps: "start-end rwxp offset major:minor inode  path\n" ----

enum maps_field {
    FIELD_START,
    FIELD_END,
    FIELD_ACCESS,
    FIELD_OFFSET,
    FIELD_DEVICE,
    FIELD_INODE,
    FIELD_REST
};

struct maps_line {
    enum maps_field field;
    struct hhi_os_mapping mapping;
};

static unsigned
hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

// Feed one character; true at the end of a line, whose mapping is complete then.
static bool
maps_feed(struct maps_line *line, char c)
{
    struct hhi_os_mapping *m = &line->mapping;
    if (c == '\n')
        return true;
    if (line->field == FIELD_REST)
        return false;
    if (c == '-' && line->field == FIELD_START) {
        line->field = FIELD_END;
    } else if (c == ' ') {
        line->field++;
    } else if (line->field == FIELD_START) {
        m->start = m->start << 4 | hex_digit(c);
    } else if (line->field == FIELD_END) {
        m->end = m->end << 4 | hex_digit(c);
    } else if (line->field == FIELD_ACCESS) {
        m->access |= c == 'r'   ? HHI_ACCESS_READ
                     : c == 'w' ? HHI_ACCESS_WRITE
                     : c == 'x' ? HHI_ACCESS_EXECUTE
                                : HHI_ACCESS_NONE;
        m->shared = m->shared || c == 's';
    } else if (line->field == FIELD_INODE) {
        m->file = m->file || c != '0';
    }
    return false;
}

static int
read_text(int descriptor, uintptr_t address, struct hhi_os_mapping *found)
{
    char buffer[2048];
    struct maps_line line = {0};
    for (;;) {
        ssize_t length = hhi_os.read(descriptor, buffer, sizeof buffer);
        if (length == -EINTR)
            continue;
        if (length <= 0)
            return length == 0 ? -ENOENT : (int)length;
        for (ssize_t i = 0; i < length; i++) {
            if (!maps_feed(&line, buffer[i]))
                continue;
            if (line.mapping.end > address) {
                *found = line.mapping;
                return 0;
            }
            line = (struct maps_line){0};
        }
    }
}

// A descriptor of its own: a read goes on where the last one of that descriptor ended.
static int
find_by_text(uintptr_t address, struct hhi_os_mapping *found)
{
    int descriptor = maps_open();
    if (descriptor < 0)
        return descriptor;
    int result = read_text(descriptor, address, found);
    hhi_os_close(descriptor);
    return result;
}

// -ENOTTY when the kernel can not.
static int
find_by_query(uintptr_t address, struct hhi_os_mapping *found)
{
    int descriptor = kept_descriptor();
    int result = descriptor >= 0 ? query_descriptor(descriptor, address, found) : -ENOTTY;
    if (result != -ENOTTY)
        return result;
    // None, or the program has put another file there since it was looked at.
    descriptor = maps_open();
    if (descriptor < 0)
        return descriptor;
    result = query_descriptor(descriptor, address, found);
    // What is kept must not take the number of the program's next file.
    if (result != -ENOTTY)
        descriptor = hhi_kept_file_raise(descriptor);
    if (descriptor >= 0 && (result == -ENOTTY || !descriptor_keep(descriptor)))
        hhi_os_close(descriptor);
    return result;
}

int
hhi_os_find_mapping(uintptr_t address, struct hhi_os_mapping *found)
{
    // relaxed: a hint; the kernel stays the same.
    if (!hh_load_relaxed(&mapping.no_query)) {
        int result = find_by_query(address, found);
        if (result == 0 || result == -ENOENT)
            return result;
        if (result == -ENOTTY)
            hh_store_relaxed(&mapping.no_query, true);
    }
    return find_by_text(address, found);
}
