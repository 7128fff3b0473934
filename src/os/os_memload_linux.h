// SPDX-License-Identifier: MIT
/*
 * os/os_memload_linux.h - how much memory the process may still use.
 *
 * Layer: os. May include: base.
 *
 * Sources, all through files of the kernel:
 *   the machine   /proc/meminfo: MemTotal and MemAvailable; without it sysinfo(2)
 *   cgroup v2     own group and every ancestor up to the mount: the smaller of memory.high and
 *                 memory.max against memory.current less inactive_file of memory.stat
 *   cgroup v1     the same with memory.limit_in_bytes, memory.usage_in_bytes, total_inactive_file
 * A limit of MemTotal or more is none. The answer is the source with the fewest bytes available;
 * of two with the same number, the fuller one.
 *
 * The groups are found once through /proc/self/cgroup and /proc/self/mountinfo, and again when the
 * process was forked, when it was moved to another group (looked at every 2 s), or when a kept
 * descriptor is no longer ours. Where nothing can be read the answer falls back to sysinfo; a
 * question about memory load never fails.
 *
 * Nothing here allocates, takes a lock, touches errno or uses more than 16 KiB of stack.
 *
 * A hhi_memload_files object belongs to one thread at a time. hhi_memload_now may be called by any
 * thread at any time, also while all others are stopped: whoever finds the shared object in use
 * opens files of his own for that one question.
 *
 * Memory ordering (label: writer -> reader: what is published)
 *   MLB-1  leave -> enter of the shared object: its descriptors; also the first user -> a child of a fork.
 *   MLC-1  the cache's words: a reader that sees a word of a newer answer also sees the odd
 *          sequence number that was stored before it, and then drops what it read.
 *
 * Progress: hhi_memload_now is wait-free but for the kernel's own work.
 * Source: contract ML-3, ML-4, ML-5, GEN-8, 16.10.
 */
#ifndef HHI_OS_OS_MEMLOAD_LINUX_H
#define HHI_OS_OS_MEMLOAD_LINUX_H

#include <sys/types.h>

#include "base/compiler.h"
#include "os/os_kept_file.h"

enum {
    HHI_MEMLOAD_GROUPS_MAX = 32, // levels of v2 and v1 together; deeper ones count nearest first
    HHI_MEMLOAD_CACHE_MS = 100,  // no answer of hhi_memload_now is older
    HHI_MEMLOAD_MOVED_MS = 2000, // how often it is asked whether the process is in another group
};

// The tightest source.
struct hhi_memload {
    uint64_t total_bytes;     // what it has; 0 only for a group whose limit is 0
    uint64_t available_bytes; // at most total_bytes
};

struct hhi_memload_group {
    bool v1;
    struct hhi_kept_file limit; // memory.max or memory.limit_in_bytes
    struct hhi_kept_file high;  // memory.high; v2 only
    struct hhi_kept_file usage; // open only if there was a limit when the group was found
    struct hhi_kept_file stat;  // as usage
};

struct hhi_memload_files {
    const char *root;     // put before every path; "" = the real files; owned by the caller
    pid_t process_id;     // who opened them; 0 = nobody yet
    uint64_t checked_ms;  // when /proc/self/cgroup was last looked at
    uint64_t fingerprint; // of what it said
    struct hhi_kept_file meminfo;
    unsigned group_count;
    struct hhi_memload_group groups[HHI_MEMLOAD_GROUPS_MAX];
};

// round(100 * (total - available) / total), 0..100; 100 if total is 0. available above total is 0.
unsigned hhi_memload_percent(uint64_t total_bytes, uint64_t available_bytes);
// Takes the source into load if it is tighter.
void hhi_memload_tighten(struct hhi_memload *load, uint64_t total_bytes, uint64_t used_bytes);

// root must live as long as files. Opens nothing yet.
void hhi_memload_init(struct hhi_memload_files *files, const char *root);
// Opens what is missing and answers. now_ms only ever grows.
void hhi_memload_read(struct hhi_memload_files *files, uint64_t now_ms, struct hhi_memload *load);
// Closes the descriptors that are still ours.
void hhi_memload_close(struct hhi_memload_files *files);

// The process's answer, at most HHI_MEMLOAD_CACHE_MS old.
void hhi_memload_now(struct hhi_memload *load);
// Other files for hhi_memload_now, and an empty cache. Only while no other thread asks.
void hhi_memload_set_root(const char *root);
const char *hhi_memload_root(void);

#endif
