// SPDX-License-Identifier: MIT
/* os/proc_maps.c - see proc_maps.h. */
#include "os/proc_maps.h"

#include <string.h>

#include "os/os.h"

enum {
    MAPS_CHUNK_BYTES = 1024,
    MAPS_ACCESS_BYTES = 48, // of a line: up to its access, with addresses of any length
};

// Takes the file byte by byte and keeps the current line, as far as it fits.
struct maps_scan {
    char *line;
    size_t capacity_bytes;
    size_t length_bytes;
    uintptr_t bounds[2]; // of the current line
    unsigned bound;      // which of them is being read; 2 = both done
};

static void
maps_scan_bound(struct maps_scan *scan, char c)
{
    if (c >= '0' && c <= '9')
        scan->bounds[scan->bound] = scan->bounds[scan->bound] * 16 + (uintptr_t)(c - '0');
    else if (c >= 'a' && c <= 'f')
        scan->bounds[scan->bound] = scan->bounds[scan->bound] * 16 + (uintptr_t)(c - 'a') + 10;
    else
        scan->bound++; // the '-' between them, the ' ' behind the second
}

// True when c ends the line that covers address.
static bool
maps_scan_byte(struct maps_scan *scan, char c, uintptr_t address)
{
    if (c == '\n') {
        if (address >= scan->bounds[0] && address < scan->bounds[1])
            return true;
        scan->length_bytes = 0;
        scan->bounds[0] = scan->bounds[1] = 0;
        scan->bound = 0;
        return false;
    }
    if (scan->bound < 2)
        maps_scan_bound(scan, c);
    if (scan->length_bytes < scan->capacity_bytes - 1)
        scan->line[scan->length_bytes++] = c;
    return false;
}

static bool
maps_scan_open_file(struct maps_scan *scan, int file, uintptr_t address)
{
    char chunk[MAPS_CHUNK_BYTES];
    ssize_t count;
    while ((count = hhi_os_read(file, chunk, sizeof chunk)) > 0) {
        for (ssize_t i = 0; i < count; i++) {
            if (maps_scan_byte(scan, chunk[i], address))
                return true;
        }
    }
    return false;
}

bool
hhi_os_describe_mapping(const void *address, char *line, size_t capacity_bytes)
{
    struct maps_scan scan = {.line = line, .capacity_bytes = capacity_bytes};
    int file = hhi_os_open("/proc/self/maps");
    if (file < 0)
        return false;
    bool found = maps_scan_open_file(&scan, file, (uintptr_t)address);
    hhi_os_close(file);
    line[found ? scan.length_bytes : 0] = '\0';
    return found;
}

bool
hhi_os_mapping_range(const void *address, struct hhi_os_range *range)
{
    char line[MAPS_ACCESS_BYTES];
    struct maps_scan scan = {.line = line, .capacity_bytes = sizeof line};
    int file = hhi_os_open("/proc/self/maps");
    if (file < 0)
        return false;
    bool found = maps_scan_open_file(&scan, file, (uintptr_t)address);
    hhi_os_close(file);
    *range = (struct hhi_os_range){scan.bounds[0], scan.bounds[1]};
    return found;
}

// The bounds of the line in scan, if its mapping is executable.
static bool
maps_scan_executable(const struct maps_scan *scan, struct hhi_os_range *range)
{
    const char *access = memchr(scan->line, ' ', scan->length_bytes);
    if (access == NULL || access + 3 >= scan->line + scan->length_bytes || access[3] != 'x')
        return false;
    *range = (struct hhi_os_range){scan->bounds[0], scan->bounds[1]};
    return true;
}

size_t
hhi_os_executable_ranges(struct hhi_os_range *ranges, size_t capacity)
{
    char chunk[MAPS_CHUNK_BYTES], line[MAPS_ACCESS_BYTES];
    struct maps_scan scan = {.line = line, .capacity_bytes = sizeof line};
    size_t found = 0;
    ssize_t count;
    int file = hhi_os_open("/proc/self/maps");
    if (file < 0)
        return 0;
    while ((count = hhi_os_read(file, chunk, sizeof chunk)) > 0) {
        for (ssize_t i = 0; i < count; i++) {
            if (chunk[i] == '\n' && found < capacity)
                found += maps_scan_executable(&scan, &ranges[found]);
            maps_scan_byte(&scan, chunk[i], UINTPTR_MAX); // in no mapping: goes on to the end
        }
    }
    hhi_os_close(file);
    return found;
}
