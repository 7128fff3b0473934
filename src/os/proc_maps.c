// SPDX-License-Identifier: MIT
/* os/proc_maps.c - see proc_maps.h. */
#include "os/proc_maps.h"

#include "os/os.h"

enum { MAPS_CHUNK_BYTES = 1024 };

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
