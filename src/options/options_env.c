// SPDX-License-Identifier: MIT
/* options/options_env.c - see options_env.h. */
#include "options/options_env.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "os/os.h"

enum { ENV_CHUNK_BYTES = 1024 };

// Where a byte-by-byte reader of "NAME=value\0NAME=value\0..." is.
struct env_scan {
    const char *name;
    size_t name_length;
    size_t matched; // bytes of name matched in this entry
    bool in_value;  // name and '=' are behind us: what follows is copied
    bool skipping;  // this entry is another variable
    size_t length_bytes;
    char *value;
    size_t capacity_bytes;
};

// True when the value is complete.
static bool
env_scan_byte(struct env_scan *scan, char c)
{
    if (scan->in_value) {
        if (scan->length_bytes < scan->capacity_bytes)
            scan->value[scan->length_bytes] = c;
        scan->length_bytes++;
        return c == '\0';
    }
    if (c == '\0') {
        scan->matched = 0;
        scan->skipping = false;
    } else if (!scan->skipping) {
        if (scan->matched < scan->name_length)
            scan->skipping = scan->name[scan->matched++] != c;
        else if (c == '=')
            scan->in_value = true;
        else
            scan->skipping = true;
    }
    return false;
}

static enum hhi_env_result
env_scan_result(const struct env_scan *scan)
{
    if (!scan->in_value)
        return HHI_ENV_ABSENT;
    return scan->length_bytes <= scan->capacity_bytes ? HHI_ENV_FOUND : HHI_ENV_TOO_LONG;
}

static void
env_scan_open_file(struct env_scan *scan, int file)
{
    char chunk[ENV_CHUNK_BYTES];
    for (;;) {
        ssize_t count = hhi_os_read(file, chunk, sizeof chunk);
        if (count <= 0)
            break;
        for (ssize_t i = 0; i < count; i++) {
            if (env_scan_byte(scan, chunk[i]))
                return;
        }
    }
    // The last entry may lack its NUL.
    if (scan->in_value)
        env_scan_byte(scan, '\0');
}

enum hhi_env_result
hhi_options_read_environment_file(const char *path, const char *name, char *value,
                                  size_t capacity_bytes)
{
    struct env_scan scan = {.name = name,
                            .name_length = strlen(name),
                            .value = value,
                            .capacity_bytes = capacity_bytes};
    int file = hhi_os_open(path);
    if (file >= 0) {
        env_scan_open_file(&scan, file);
        hhi_os_close(file);
    }
    return env_scan_result(&scan);
}

enum hhi_env_result
hhi_options_read_environment(const char *name, char *value, size_t capacity_bytes)
{
    int saved_errno = errno;
    bool secure = getauxval(AT_SECURE) != 0;
    errno = saved_errno;
    if (secure)
        return HHI_ENV_ABSENT;
    if (environ == NULL)
        return hhi_options_read_environment_file("/proc/self/environ", name, value, capacity_bytes);
    size_t name_length = strlen(name);
    for (char **entry = environ; *entry != NULL; entry++) {
        if (strncmp(*entry, name, name_length) != 0 || (*entry)[name_length] != '=')
            continue;
        const char *text = *entry + name_length + 1;
        size_t length_bytes = strlen(text) + 1;
        if (length_bytes > capacity_bytes)
            return HHI_ENV_TOO_LONG;
        memcpy(value, text, length_bytes);
        return HHI_ENV_FOUND;
    }
    return HHI_ENV_ABSENT;
}
