// SPDX-License-Identifier: MIT
// os/os_linux.c - the door to the kernel on Linux.
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "os/syscall.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

_Static_assert(HHI_ACCESS_READ == PROT_READ && HHI_ACCESS_WRITE == PROT_WRITE &&
                   HHI_ACCESS_EXECUTE == PROT_EXEC,
               "accesses are passed to the kernel as they are");

_Atomic uint64_t hhi_os_calls HH_START_STATE;

static void
count_call(void)
{
    // relaxed: a statistic.
    hh_fetch_add_relaxed(&hhi_os_calls, 1);
}

static intptr_t
kernel_map(void *address, size_t size_bytes, int protection, int flags)
{
    count_call();
    return HHI_SYSCALL6(SYS_mmap, address, size_bytes, protection, flags, -1, 0);
}

static int
kernel_unmap(void *address, size_t size_bytes)
{
    count_call();
    return (int)HHI_SYSCALL2(SYS_munmap, address, size_bytes);
}

static int
kernel_protect(void *address, size_t size_bytes, int protection)
{
    count_call();
    return (int)HHI_SYSCALL3(SYS_mprotect, address, size_bytes, protection);
}

static int
kernel_advise(void *address, size_t size_bytes, int advice)
{
    count_call();
    return (int)HHI_SYSCALL3(SYS_madvise, address, size_bytes, advice);
}

// No memory call: it changes nothing.
static int
kernel_resident(void *address, size_t size_bytes, unsigned char *pages)
{
    return (int)HHI_SYSCALL3(SYS_mincore, address, size_bytes, pages);
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 // since Linux 5.14; the C library's headers may be older
#endif

// No memory call: it asks for nothing that the writes behind it would not.
static int
kernel_populate(void *address, size_t size_bytes)
{
    return (int)HHI_SYSCALL3(SYS_madvise, address, size_bytes, MADV_POPULATE_WRITE);
}

static intptr_t
kernel_remap(void *address, size_t old_bytes, size_t new_bytes, int flags, void *target)
{
    count_call();
    return HHI_SYSCALL5(SYS_mremap, address, old_bytes, new_bytes, flags, target);
}

static int
kernel_open(const char *path)
{
    return (int)HHI_SYSCALL4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

static ssize_t
kernel_read(int descriptor, void *buffer, size_t size_bytes)
{
    return HHI_SYSCALL3(SYS_read, descriptor, buffer, size_bytes);
}

static int
kernel_control(int descriptor, unsigned long request, void *argument)
{
    return (int)HHI_SYSCALL3(SYS_ioctl, descriptor, request, argument);
}

struct hhi_os hhi_os HH_START_STATE = {
    .map = kernel_map,
    .unmap = kernel_unmap,
    .protect = kernel_protect,
    .advise = kernel_advise,
    .resident = kernel_resident,
    .populate = kernel_populate,
    .remap = kernel_remap,
    .open = kernel_open,
    .read = kernel_read,
    .control = kernel_control,
};

size_t
hhi_os_page_bytes(void)
{
#if defined(__x86_64__)
    return 4096;
#else
    return (size_t)sysconf(_SC_PAGESIZE);
#endif
}

static intptr_t
reserve_with(void *address, size_t size_bytes, int protection)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (address != NULL)
        flags |= MAP_FIXED_NOREPLACE;
    intptr_t result = hhi_os.map(address, size_bytes, protection, flags);
    if (address != NULL && result >= 0 && result != (intptr_t)address) {
        // A kernel before 4.17 took the address for a hint only.
        hhi_os.unmap((void *)result, size_bytes);
        return -EEXIST;
    }
    return result;
}

intptr_t
hhi_os_reserve(void *address, size_t size_bytes)
{
    return reserve_with(address, size_bytes, PROT_NONE);
}

intptr_t
hhi_os_map_at(void *address, size_t size_bytes, unsigned access)
{
    return reserve_with(address, size_bytes, (int)access);
}

intptr_t
hhi_os_reserve_readable(void *address, size_t size_bytes)
{
    return reserve_with(address, size_bytes, PROT_READ);
}

int
hhi_os_commit(void *address, size_t size_bytes, bool executable)
{
    int protection = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
    return hhi_os.protect(address, size_bytes, protection);
}

int
hhi_os_decommit(void *address, size_t size_bytes)
{
    int result = hhi_os.protect(address, size_bytes, PROT_NONE);
    if (result == 0)
        result = hhi_os.advise(address, size_bytes, MADV_DONTNEED);
    return result;
}

int
hhi_os_purge(void *address, size_t size_bytes)
{
    return hhi_os.advise(address, size_bytes, MADV_DONTNEED);
}

int
hhi_os_populate(void *address, size_t size_bytes)
{
    static _Atomic uint8_t missing; // the kernel does not know the call
    // relaxed (both): a hint, the same whoever finds it out.
    if (hh_load_relaxed(&missing) != 0)
        return -EINVAL;
    int result = hhi_os.populate(address, size_bytes);
    if (result == -EINVAL)
        hh_store_relaxed(&missing, 1);
    return result;
}

int
hhi_os_resident(void *address, size_t size_bytes, unsigned char *pages)
{
    return hhi_os.resident(address, size_bytes, pages);
}

int
hhi_os_allow_huge(void *address, size_t size_bytes, bool allow)
{
    return hhi_os.advise(address, size_bytes, allow ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

int
hhi_os_release(void *address, size_t size_bytes)
{
    return hhi_os.unmap(address, size_bytes);
}

int
hhi_os_move(void *from, void *to, size_t size_bytes)
{
    intptr_t result = hhi_os.remap(from, size_bytes, size_bytes,
                                   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
    return result < 0 ? (int)result : 0;
}

intptr_t
hhi_os_map_private(size_t size_bytes)
{
    return hhi_os.map(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
}

int
hhi_os_protect(void *address, size_t size_bytes, unsigned access)
{
    return hhi_os.protect(address, size_bytes, (int)access);
}

int
hhi_os_reset(void *address, size_t size_bytes)
{
    return hhi_os.advise(address, size_bytes, MADV_FREE);
}

int
hhi_os_replace(void *address, size_t size_bytes)
{
    intptr_t result = hhi_os.map(address, size_bytes, PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED);
    return result < 0 ? (int)result : 0;
}

static size_t
process_limit(int resource)
{
    struct rlimit limit = {0};
    if (HHI_SYSCALL4(SYS_prlimit64, 0, resource, NULL, &limit) != 0)
        return SIZE_MAX;
    return limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
}

size_t
hhi_os_address_space_limit(void)
{
    return process_limit(RLIMIT_AS);
}

size_t
hhi_os_data_limit(void)
{
    return process_limit(RLIMIT_DATA);
}

size_t
hhi_os_physical_bytes(void)
{
    struct sysinfo info = {0};
    if (HHI_SYSCALL1(SYS_sysinfo, &info) != 0)
        return (size_t)1 << 30;
    return (size_t)info.totalram * info.mem_unit;
}

uint64_t
hhi_os_clock_ms(void)
{
    struct timespec now;
    // Through the vDSO: 20 ns. It fails for no argument we pass, so errno stays alone.
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t
hhi_os_random(void)
{
    uint64_t value = 0;
    if (HHI_SYSCALL3(SYS_getrandom, &value, sizeof value, 1 /* GRND_NONBLOCK */) != sizeof value)
        value = hhi_os_clock_ms() * 0x9E3779B97F4A7C15u ^ (uintptr_t)&value;
    return value;
}

void
hhi_os_sleep_ms(unsigned milliseconds)
{
    struct timespec wait = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    HHI_SYSCALL4(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &wait, NULL);
}

pid_t
hhi_os_process_id(void)
{
    return (pid_t)HHI_SYSCALL0(SYS_getpid);
}

pid_t
hhi_os_thread_id(void)
{
    return (pid_t)HHI_SYSCALL0(SYS_gettid);
}

void
hhi_os_write(int descriptor, const void *data, size_t size_bytes)
{
    const char *next = data;
    while (size_bytes > 0) {
        long written = HHI_SYSCALL3(SYS_write, descriptor, next, size_bytes);
        if (written == -EINTR)
            continue;
        if (written <= 0)
            return;
        next += written;
        size_bytes -= (size_t)written;
    }
}

int
hhi_os_open(const char *path)
{
    return (int)HHI_SYSCALL4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

ssize_t
hhi_os_read(int descriptor, void *buffer, size_t size_bytes)
{
    long result;
    do {
        result = HHI_SYSCALL3(SYS_read, descriptor, buffer, size_bytes);
    } while (result == -EINTR);
    return result;
}

ssize_t
hhi_os_read_at(int descriptor, void *buffer, size_t size_bytes, uint64_t offset)
{
    long result;
    do {
        result = HHI_SYSCALL4(SYS_pread64, descriptor, buffer, size_bytes, offset);
    } while (result == -EINTR);
    return result;
}

int
hhi_os_close(int descriptor)
{
    return (int)HHI_SYSCALL1(SYS_close, descriptor);
}

void
hhi_os_abort(void)
{
    // abort() takes a libc lock and flushes streams in some versions: raise the signal ourselves.
    uint64_t set = (uint64_t)1 << (SIGABRT - 1);
    HHI_SYSCALL4(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, NULL, sizeof set);
    HHI_SYSCALL3(SYS_tgkill, hhi_os_process_id(), hhi_os_thread_id(), SIGABRT);
    // A handler returned: take it away and raise once more.
    signal(SIGABRT, SIG_DFL);
    HHI_SYSCALL3(SYS_tgkill, hhi_os_process_id(), hhi_os_thread_id(), SIGABRT);
    for (;;)
        HHI_SYSCALL1(SYS_exit_group, 134);
}

bool
hhi_os_barrier_init(void)
{
    return HHI_SYSCALL3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

bool
hhi_os_barrier_all_threads(void)
{
    return HHI_SYSCALL3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

uint64_t
hhi_os_block_signals(void)
{
    uint64_t all = ~(uint64_t)0, before = 0;
    HHI_SYSCALL4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    return before;
}

void
hhi_os_restore_signals(uint64_t before)
{
    HHI_SYSCALL4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
}

void
hhi_os_wait(_Atomic uint32_t *word, uint32_t expected, unsigned timeout_ms)
{
    struct timespec wait = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    HHI_SYSCALL4(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout_ms ? &wait : NULL);
}

void
hhi_os_wake(_Atomic uint32_t *word, bool all)
{
    HHI_SYSCALL3(SYS_futex, word, FUTEX_WAKE_PRIVATE, all ? INT32_MAX : 1);
}
