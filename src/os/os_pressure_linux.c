// SPDX-License-Identifier: MIT
// os/os_pressure_linux.c - see os_pressure_linux.h.
#include "os/os_pressure_linux.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "os/os.h"
#include "os/os_cgroup_linux.h"
#include "os/syscall.h"

static const char psi_trigger[] = "some 150000 2000000"; // the NUL belongs to it

static bool
descriptor_write(int descriptor, const char *text, size_t size_bytes)
{
    return HHI_SYSCALL3(SYS_write, descriptor, text, size_bytes) == (long)size_bytes;
}

// Decimal digits of a number that is not negative, behind *end.
static void
text_add_number(char **end, int number)
{
    char digits[12];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    while (count != 0)
        *(*end)++ = digits[--count];
    **end = '\0';
}

// The id of an eventfd, 0 if the descriptor is none (or the kernel, before 5.2, does not tell).
static uint64_t
eventfd_id(int descriptor)
{
    char path[64] = "/proc/self/fdinfo/";
    char *end = path + strlen(path);
    struct hhi_kept_file info;
    struct hhi_kept_field id = {.name = "eventfd-id"};
    text_add_number(&end, descriptor);
    if (!hhi_kept_file_open(&info, path, O_RDONLY))
        return 0;
    (void)hhi_kept_file_fields(&info, &id, 1);
    hhi_kept_file_close(&info);
    return id.found ? id.value + 1 : 0;
}

// ---- psi ----

static void
psi_open(struct hhi_pressure *pressure, struct hhi_cgroup *group, bool has_group)
{
    bool opened =
        has_group && hhi_cgroup_open(group, "memory.pressure", O_RDWR | O_NONBLOCK, &pressure->psi);
    size_t length = strlen(pressure->root);
    if (!opened && length < sizeof group->path) {
        memcpy(group->path, pressure->root, length + 1);
        group->length = length;
        opened =
            hhi_cgroup_open(group, "proc/pressure/memory", O_RDWR | O_NONBLOCK, &pressure->psi);
    }
    if (opened && !descriptor_write(pressure->psi.descriptor, psi_trigger, sizeof psi_trigger))
        hhi_kept_file_close(&pressure->psi);
}

// ---- events ----

// The sum of the counts that matter; what it was if it can not be read.
static uint64_t
events_count(struct hhi_pressure *pressure)
{
    struct hhi_kept_field fields[] = {{.name = "high"}, {.name = "max"}, {.name = "oom"}};
    enum hhi_kept_result result = hhi_kept_file_fields(&pressure->events, fields, 3);
    if (result == HHI_KEPT_LOST) { // poll would report it for ever
        pressure->complete = false;
        hhi_kept_file_close(&pressure->events);
    }
    if (result != HHI_KEPT_OK)
        return pressure->events_seen;
    uint64_t sum = 0;
    for (unsigned i = 0; i < 3; i++)
        sum += fields[i].found ? fields[i].value : 0;
    return sum;
}

static bool
events_rose(struct hhi_pressure *pressure)
{
    uint64_t count = events_count(pressure);
    bool rose = count > pressure->events_seen;
    pressure->events_seen = count;
    return rose;
}

// ---- level ----

static bool
level_is_ours(const struct hhi_pressure *pressure)
{
    return pressure->level.descriptor >= 0 &&
           eventfd_id(pressure->level.descriptor) == pressure->level_id;
}

static void
level_close(struct hhi_pressure *pressure)
{
    if (level_is_ours(pressure))
        hhi_kept_file_close(&pressure->level);
    hhi_kept_file_init(&pressure->level);
}

// "eventfd levelfd medium" to cgroup.event_control; the kernel then holds what it needs.
static bool
level_register(struct hhi_cgroup *group, int descriptor)
{
    struct hhi_kept_file level, control;
    char text[64];
    char *end = text;
    bool done = false;
    if (!hhi_cgroup_open(group, "memory.pressure_level", O_RDONLY, &level))
        return false;
    if (hhi_cgroup_open(group, "cgroup.event_control", O_WRONLY, &control)) {
        text_add_number(&end, descriptor);
        *end++ = ' ';
        text_add_number(&end, level.descriptor);
        memcpy(end, " medium", sizeof " medium");
        done = descriptor_write(control.descriptor, text, strlen(text));
        hhi_kept_file_close(&control);
    }
    hhi_kept_file_close(&level);
    return done;
}

static void
level_open(struct hhi_pressure *pressure, struct hhi_cgroup *group)
{
    int descriptor = (int)HHI_SYSCALL2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0 || !hhi_kept_file_adopt(&pressure->level, descriptor))
        return;
    pressure->level_id = eventfd_id(pressure->level.descriptor);
    if (pressure->level_id == 0) {
        hhi_kept_file_close(&pressure->level); // just made: nobody can have replaced it
    } else if (!level_register(group, pressure->level.descriptor)) {
        level_close(pressure);
    }
}

static bool
level_fired(struct hhi_pressure *pressure)
{
    uint64_t count;
    if (!level_is_ours(pressure)) {
        pressure->complete = false;
        level_close(pressure);
        return false;
    }
    return hhi_os_read(pressure->level.descriptor, &count, sizeof count) == sizeof count;
}

// ---- All sources ----

void
hhi_pressure_init(struct hhi_pressure *pressure, const char *root)
{
    *pressure = (struct hhi_pressure){.root = root};
    hhi_kept_file_init(&pressure->psi);
    hhi_kept_file_init(&pressure->events);
    hhi_kept_file_init(&pressure->level);
}

void
hhi_pressure_close(struct hhi_pressure *pressure)
{
    hhi_kept_file_close(&pressure->psi);
    hhi_kept_file_close(&pressure->events);
    level_close(pressure);
    hhi_pressure_init(pressure, pressure->root);
}

// An entry that poll passes over if the file is not open.
static struct pollfd
pressure_entry(struct hhi_pressure *pressure, struct hhi_kept_file *file, short events)
{
    if (file->descriptor >= 0 && !hhi_kept_file_is_ours(file)) {
        pressure->complete = false;
        hhi_kept_file_init(file);
    }
    return (struct pollfd){.fd = file->descriptor, .events = events};
}

// What a group that was removed, or a closed descriptor, looks like.
static bool
psi_fired(struct hhi_pressure *pressure, short events)
{
    if ((events & (POLLERR | POLLNVAL | POLLHUP)) != 0) {
        pressure->complete = false;
        hhi_kept_file_close(&pressure->psi);
        return false;
    }
    return (events & POLLPRI) != 0 && hhi_kept_file_is_ours(&pressure->psi);
}

// Waits until a source tells of pressure or the time is over. True: one did since the last call.
static bool
sources_fired(struct hhi_pressure *pressure, unsigned timeout_ms)
{
    struct pollfd entries[] = {
        pressure_entry(pressure, &pressure->psi, POLLPRI),
        pressure_entry(pressure, &pressure->events, POLLPRI),
        pressure_entry(pressure, &pressure->level, POLLIN),
    };
    struct timespec timeout = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    bool fired = false;
    bool woken = HHI_SYSCALL5(SYS_ppoll, entries, 3, &timeout, NULL, 0) > 0;
    if (woken) {
        if (entries[0].revents != 0)
            fired |= psi_fired(pressure, entries[0].revents);
        if (entries[2].revents != 0)
            fired |= level_fired(pressure);
    }
    // Also without a report: not every kernel reports this file, and reading it is cheap.
    fired |= events_rose(pressure);
    pressure->pausing = woken;
    return fired;
}

static void
pressure_look_up(struct hhi_pressure *pressure, uint64_t now_ms)
{
    struct hhi_cgroup group;
    bool missed = pressure->missed;
    if (pressure->opened_ms != 0) // what the sources have to tell would be closed with them
        missed |= sources_fired(pressure, 0);
    hhi_pressure_close(pressure);
    pressure->missed = missed;
    pressure->opened_ms = now_ms;
    pressure->complete = true;
    pressure->fingerprint = hhi_cgroup_fingerprint(pressure->root);
    if (hhi_cgroup_find(pressure->root, true, &group))
        level_open(pressure, &group);
    bool has_group = hhi_cgroup_find(pressure->root, false, &group);
    if (has_group && hhi_cgroup_open(&group, "memory.events", O_RDONLY, &pressure->events))
        (void)events_rose(pressure); // what happened before is not news
    psi_open(pressure, &group, has_group);
}

static bool
pressure_is_current(struct hhi_pressure *pressure)
{
    uint64_t now_ms = hhi_os_clock_ms();
    if (pressure->opened_ms == 0)
        return false;
    if (now_ms - pressure->opened_ms < HHI_PRESSURE_REOPEN_MS)
        return true;
    pressure->opened_ms = now_ms;
    uint64_t fingerprint = hhi_cgroup_fingerprint(pressure->root);
    return pressure->complete && (fingerprint == 0 || fingerprint == pressure->fingerprint);
}

void
hhi_pressure_open(struct hhi_pressure *pressure)
{
    if (!pressure_is_current(pressure))
        pressure_look_up(pressure, hhi_os_clock_ms());
}

bool
hhi_pressure_wait(struct hhi_pressure *pressure, unsigned timeout_ms)
{
    if (pressure->pausing)
        hhi_os_sleep_ms(HHI_PRESSURE_PAUSE_MS);
    hhi_pressure_open(pressure);
    bool missed = pressure->missed;
    pressure->missed = false;
    return sources_fired(pressure, missed ? 0 : timeout_ms) || missed;
}
