// SPDX-License-Identifier: MIT
// os/os_memload_linux.c - see os_memload_linux.h.
#include "os/os_memload_linux.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/atomic.h"
#include "os/os.h"
#include "os/os_cgroup_linux.h"
#include "os/syscall.h"

enum {
    CACHE_REFRESH_MS = 45, // an older answer is taken anew by whoever finds the files free
    CACHE_SLACK_MS = 10,   // what the coarse clock and the reading itself may take
};

static struct {
    _Atomic(pid_t) user;            // process whose thread has the files, 0 = free  [MLB-1]
    struct hhi_memload_files files; // the user's
    _Atomic bool files_ready;       // as files  [MLB-1]
    // The cached answer: written by the user of the files, read by any thread.  [MLC-1]
    _Atomic(uint64_t) sequence; // odd while the words below are being changed; 0 = empty
    _Atomic(uint64_t) taken_ms;
    _Atomic(uint64_t) total_bytes;
    _Atomic(uint64_t) available_bytes;
} memload_shared;
// Of the shared files; apart from them, which most processes never use.
static const char *memload_root HH_START_STATE = "";

unsigned
hhi_memload_percent(uint64_t total_bytes, uint64_t available_bytes)
{
    if (total_bytes == 0)
        return 100;
    if (available_bytes >= total_bytes)
        return 0;
    unsigned __int128 used_bytes = total_bytes - available_bytes;
    return (unsigned)((used_bytes * 100 + total_bytes / 2) / total_bytes);
}

void
hhi_memload_tighten(struct hhi_memload *load, uint64_t total_bytes, uint64_t used_bytes)
{
    uint64_t available_bytes = used_bytes < total_bytes ? total_bytes - used_bytes : 0;
    if (available_bytes < load->available_bytes ||
        (available_bytes == load->available_bytes && total_bytes < load->total_bytes))
        *load = (struct hhi_memload){total_bytes, available_bytes};
}

// ---- Groups ----

static bool
group_open(struct hhi_cgroup *place, bool v1, struct hhi_memload_group *group)
{
    uint64_t limit_bytes = UINT64_MAX, high_bytes = UINT64_MAX;
    *group = (struct hhi_memload_group){.v1 = v1};
    hhi_kept_file_init(&group->high);
    hhi_kept_file_init(&group->usage);
    hhi_kept_file_init(&group->stat);
    bool has_limit = hhi_cgroup_open(place, v1 ? "memory.limit_in_bytes" : "memory.max", O_RDONLY,
                                     &group->limit);
    bool has_high = !v1 && hhi_cgroup_open(place, "memory.high", O_RDONLY, &group->high);
    if (!has_limit && !has_high)
        return false;
    (void)hhi_kept_file_number(&group->limit, &limit_bytes);
    (void)hhi_kept_file_number(&group->high, &high_bytes);
    // Larger numbers are v1's ways to say "none".
    if (limit_bytes < INT64_MAX / 2 || high_bytes < INT64_MAX / 2) {
        hhi_cgroup_open(place, v1 ? "memory.usage_in_bytes" : "memory.current", O_RDONLY,
                        &group->usage);
        hhi_cgroup_open(place, "memory.stat", O_RDONLY, &group->stat);
    }
    return true;
}

// A v1 ancestor without use_hierarchy does not count or limit its children.
static bool
group_is_hierarchical(struct hhi_cgroup *place)
{
    struct hhi_kept_file file;
    uint64_t answer = 1;
    if (hhi_cgroup_open(place, "memory.use_hierarchy", O_RDONLY, &file)) {
        (void)hhi_kept_file_number(&file, &answer);
        hhi_kept_file_close(&file);
    }
    return answer != 0;
}

static void
group_close(struct hhi_memload_group *group)
{
    hhi_kept_file_close(&group->limit);
    hhi_kept_file_close(&group->high);
    hhi_kept_file_close(&group->usage);
    hhi_kept_file_close(&group->stat);
}

static void
files_open_groups(struct hhi_memload_files *files, bool v1)
{
    struct hhi_cgroup place;
    if (!hhi_cgroup_find(files->root, v1, &place))
        return;
    bool own = true;
    do {
        if (files->group_count == HHI_MEMLOAD_GROUPS_MAX)
            return;
        if (v1 && !own && !group_is_hierarchical(&place))
            return;
        own = false;
        if (group_open(&place, v1, &files->groups[files->group_count]))
            files->group_count++;
    } while (hhi_cgroup_up(&place));
}

// Sets *limit_bytes to what binds the group. Lost if a file that should be open is not.
static enum hhi_kept_result
group_limit(const struct hhi_memload_group *group, uint64_t machine_bytes, uint64_t *limit_bytes)
{
    uint64_t max_bytes = UINT64_MAX, high_bytes = UINT64_MAX;
    if (hhi_kept_file_number(&group->limit, &max_bytes) == HHI_KEPT_LOST ||
        hhi_kept_file_number(&group->high, &high_bytes) == HHI_KEPT_LOST)
        return HHI_KEPT_LOST;
    *limit_bytes = max_bytes < high_bytes ? max_bytes : high_bytes;
    if (*limit_bytes >= machine_bytes)
        return HHI_KEPT_ABSENT;
    // A limit that was set after the group was found: find it again, with its usage.
    return group->usage.descriptor < 0 ? HHI_KEPT_LOST : HHI_KEPT_OK;
}

static enum hhi_kept_result
group_read(const struct hhi_memload_group *group, uint64_t machine_bytes, struct hhi_memload *load)
{
    uint64_t limit_bytes = UINT64_MAX, usage_bytes = 0;
    enum hhi_kept_result result = group_limit(group, machine_bytes, &limit_bytes);
    if (result != HHI_KEPT_OK)
        return result;
    result = hhi_kept_file_number(&group->usage, &usage_bytes);
    if (result != HHI_KEPT_OK)
        return result;
    struct hhi_kept_field inactive = {.name = group->v1 ? "total_inactive_file" : "inactive_file"};
    if (hhi_kept_file_fields(&group->stat, &inactive, 1) == HHI_KEPT_LOST)
        return HHI_KEPT_LOST;
    // File pages that nobody looked at lately: the kernel drops them before it refuses memory.
    if (inactive.found)
        usage_bytes -= inactive.value < usage_bytes ? inactive.value : usage_bytes;
    hhi_memload_tighten(load, limit_bytes, usage_bytes);
    return HHI_KEPT_OK;
}

// ---- The machine ----

static void
sysinfo_read(struct hhi_memload *load)
{
    struct sysinfo info = {0};
    if (HHI_SYSCALL1(SYS_sysinfo, &info) != 0) { // it fails for no argument we pass
        *load = (struct hhi_memload){0, 0};
        return;
    }
    uint64_t unit = info.mem_unit;
    load->total_bytes = info.totalram * unit;
    load->available_bytes = (info.freeram + info.bufferram) * unit;
}

static enum hhi_kept_result
meminfo_read(const struct hhi_kept_file *file, struct hhi_memload *load)
{
    struct hhi_kept_field fields[] = {{.name = "MemTotal"}, {.name = "MemAvailable"}};
    enum hhi_kept_result result = hhi_kept_file_fields(file, fields, 2);
    if (result == HHI_KEPT_OK && fields[0].found && fields[1].found && fields[0].value != 0 &&
        fields[0].value <= UINT64_MAX / 1024) {
        load->total_bytes = fields[0].value * 1024;
        load->available_bytes =
            fields[1].value < fields[0].value ? fields[1].value * 1024 : load->total_bytes;
    } else {
        sysinfo_read(load);
    }
    return result;
}

// ---- All files ----

void
hhi_memload_init(struct hhi_memload_files *files, const char *root)
{
    files->root = root;
    files->process_id = 0;
    files->checked_ms = 0;
    files->fingerprint = 0;
    files->group_count = 0;
    hhi_kept_file_init(&files->meminfo);
}

void
hhi_memload_close(struct hhi_memload_files *files)
{
    hhi_kept_file_close(&files->meminfo);
    for (unsigned i = 0; i < files->group_count; i++)
        group_close(&files->groups[i]);
    hhi_memload_init(files, files->root);
}

static void
files_open(struct hhi_memload_files *files, uint64_t now_ms)
{
    struct hhi_cgroup scratch; // only for the length of a path
    size_t length = strlen(files->root);
    hhi_memload_close(files);
    files->process_id = hhi_os_process_id();
    files->checked_ms = now_ms;
    files->fingerprint = hhi_cgroup_fingerprint(files->root);
    files_open_groups(files, false);
    files_open_groups(files, true);
    // The last one: where descriptors ran out this one is missing too, and is tried again.
    if (length < sizeof scratch.path) {
        memcpy(scratch.path, files->root, length + 1);
        scratch.length = length;
        (void)hhi_cgroup_open(&scratch, "proc/meminfo", O_RDONLY, &files->meminfo);
    }
}

static bool
files_are_current(struct hhi_memload_files *files, uint64_t now_ms)
{
    if (files->process_id != hhi_os_process_id())
        return false;
    if (now_ms - files->checked_ms < HHI_MEMLOAD_MOVED_MS)
        return true;
    files->checked_ms = now_ms;
    if (files->meminfo.descriptor < 0)
        return false;
    uint64_t fingerprint = hhi_cgroup_fingerprint(files->root);
    return fingerprint == 0 || fingerprint == files->fingerprint;
}

// Lost if any file was; what the others say is in load all the same.
static enum hhi_kept_result
files_read(const struct hhi_memload_files *files, struct hhi_memload *load)
{
    bool lost = meminfo_read(&files->meminfo, load) == HHI_KEPT_LOST;
    uint64_t machine_bytes = load->total_bytes;
    for (unsigned i = 0; i < files->group_count; i++)
        lost |= group_read(&files->groups[i], machine_bytes, load) == HHI_KEPT_LOST;
    return lost ? HHI_KEPT_LOST : HHI_KEPT_OK;
}

void
hhi_memload_read(struct hhi_memload_files *files, uint64_t now_ms, struct hhi_memload *load)
{
    if (!files_are_current(files, now_ms))
        files_open(files, now_ms);
    if (files_read(files, load) == HHI_KEPT_LOST) {
        files_open(files, now_ms);
        (void)files_read(files, load);
    }
}

// ---- The process's answer ----

// False if there is none, or it is being changed.
static bool
cache_read(struct hhi_memload *load, uint64_t *taken_ms)
{
    // order: acquire [MLC-1] reads the words of this answer.
    uint64_t sequence = hh_load_acquire(&memload_shared.sequence);
    if (sequence == 0 || sequence % 2 != 0)
        return false;
    // order: acquire [MLC-1] a newer word brings the newer sequence number with it.
    *taken_ms = hh_load_acquire(&memload_shared.taken_ms);
    // order: acquire [MLC-1] as above.
    load->total_bytes = hh_load_acquire(&memload_shared.total_bytes);
    // order: acquire [MLC-1] as above.
    load->available_bytes = hh_load_acquire(&memload_shared.available_bytes);
    // relaxed: the loads above keep it behind them.
    return hh_load_relaxed(&memload_shared.sequence) == sequence;
}

// By the user of the files only.
static void
cache_write(const struct hhi_memload *load, uint64_t taken_ms)
{
    // relaxed: the user of the files is the only writer.
    uint64_t sequence = hh_load_relaxed(&memload_shared.sequence) | 1;
    // relaxed: the stores below publish it.
    hh_store_relaxed(&memload_shared.sequence, sequence);
    // order: release [MLC-1] publishes the odd number.
    hh_store_release(&memload_shared.taken_ms, taken_ms);
    // order: release [MLC-1] publishes the odd number.
    hh_store_release(&memload_shared.total_bytes, load->total_bytes);
    // order: release [MLC-1] publishes the odd number.
    hh_store_release(&memload_shared.available_bytes, load->available_bytes);
    // order: release [MLC-1] publishes the words.
    hh_store_release(&memload_shared.sequence, sequence + 1);
}

/*
 * A user of another process is a thread of the parent that did not come along through fork: its
 * descriptors are found out by hhi_memload_read, which sees the other process in them.
 */
static bool
shared_enter(void)
{
    pid_t self = hhi_os_process_id();
    // relaxed: a guess for the CAS below, which validates it.
    pid_t user = hh_load_relaxed(&memload_shared.user);
    // order: acquire [MLB-1] reads the descriptors the last user left.
    return user != self && hh_cas_strong_acquire(&memload_shared.user, &user, self);
}

static void
shared_leave(void)
{
    // order: release [MLB-1] publishes the descriptors to the next user.
    hh_store_release(&memload_shared.user, 0);
}

// By the user of the files only. A child of a fork that comes in between does it once more.
static struct hhi_memload_files *
shared_files(void)
{
    // relaxed: only users write it, and they follow one another.
    if (!hh_load_relaxed(&memload_shared.files_ready)) {
        hhi_memload_init(&memload_shared.files, memload_root);
        // order: release [MLB-1] there is no descriptor.
        hh_store_release(&memload_shared.files_ready, true);
    }
    return &memload_shared.files;
}

static HH_NOINLINE void
memload_read_apart(uint64_t now_ms, struct hhi_memload *load)
{
    struct hhi_memload_files files;
    hhi_memload_init(&files, memload_root);
    hhi_memload_read(&files, now_ms, load);
    hhi_memload_close(&files);
}

void
hhi_memload_now(struct hhi_memload *load)
{
    uint64_t now_ms = hhi_os_clock_ms();
    uint64_t taken_ms = 0;
    bool cached = cache_read(load, &taken_ms);
    if (cached && now_ms - taken_ms < CACHE_REFRESH_MS)
        return;
    if (shared_enter()) {
        hhi_memload_read(shared_files(), now_ms, load);
        cache_write(load, now_ms);
        shared_leave();
        return;
    }
    // Another thread is at it, perhaps stopped in the middle for long.
    if (!cached || now_ms - taken_ms >= HHI_MEMLOAD_CACHE_MS - CACHE_SLACK_MS)
        memload_read_apart(now_ms, load);
}

void
hhi_memload_set_root(const char *root)
{
    hhi_memload_close(shared_files());
    hhi_memload_init(&memload_shared.files, root);
    memload_root = root;
    // relaxed: no other thread asks meanwhile.
    hh_store_relaxed(&memload_shared.sequence, 0);
}

const char *
hhi_memload_root(void)
{
    return memload_root;
}
