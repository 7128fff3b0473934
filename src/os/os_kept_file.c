// SPDX-License-Identifier: MIT
// os/os_kept_file.c - see os_kept_file.h.
#include "os/os_kept_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "os/os.h"
#include "os/syscall.h"

// Descriptors are moved up to here where the process may have as many.
enum { DESCRIPTOR_LOWEST = 100, DESCRIPTOR_STANDARD = 3 };

static bool
descriptor_status(int descriptor, struct stat *status)
{
    return HHI_SYSCALL2(SYS_fstat, descriptor, status) == 0;
}

int
hhi_kept_file_raise(int descriptor)
{
    int raised = (int)HHI_SYSCALL3(SYS_fcntl, descriptor, F_DUPFD_CLOEXEC, DESCRIPTOR_LOWEST);
    if (raised < 0 && descriptor < DESCRIPTOR_STANDARD)
        raised = (int)HHI_SYSCALL3(SYS_fcntl, descriptor, F_DUPFD_CLOEXEC, DESCRIPTOR_STANDARD);
    else if (raised < 0)
        return descriptor;
    hhi_os_close(descriptor);
    return raised;
}

void
hhi_kept_file_init(struct hhi_kept_file *file)
{
    *file = (struct hhi_kept_file){.descriptor = -1};
}

bool
hhi_kept_file_adopt(struct hhi_kept_file *file, int descriptor)
{
    struct stat status = {0};
    hhi_kept_file_init(file);
    descriptor = hhi_kept_file_raise(descriptor);
    if (descriptor < 0)
        return false;
    if (!descriptor_status(descriptor, &status)) {
        hhi_os_close(descriptor);
        return false;
    }
    *file = (struct hhi_kept_file){descriptor, status.st_dev, status.st_ino};
    return true;
}

bool
hhi_kept_file_open(struct hhi_kept_file *file, const char *path, int access)
{
    hhi_kept_file_init(file);
    int descriptor = (int)HHI_SYSCALL4(SYS_openat, AT_FDCWD, path, access | O_CLOEXEC, 0);
    return descriptor >= 0 && hhi_kept_file_adopt(file, descriptor);
}

int
hhi_kept_file_create(struct hhi_kept_file *file, const char *path)
{
    hhi_kept_file_init(file);
    int descriptor = (int)HHI_SYSCALL4(SYS_openat, AT_FDCWD, path,
                                       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor < 0)
        return descriptor;
    return hhi_kept_file_adopt(file, descriptor) ? 0 : -EMFILE;
}

bool
hhi_kept_file_write(const struct hhi_kept_file *file, const void *data, size_t size_bytes)
{
    const char *next = data;
    if (!hhi_kept_file_is_ours(file))
        return false;
    while (size_bytes > 0) {
        long written = HHI_SYSCALL3(SYS_write, file->descriptor, next, size_bytes);
        if (written == -EINTR)
            continue;
        if (written <= 0)
            return false;
        next += written;
        size_bytes -= (size_t)written;
    }
    return true;
}

bool
hhi_kept_file_is_ours(const struct hhi_kept_file *file)
{
    struct stat status = {0};
    return file->descriptor >= 0 && descriptor_status(file->descriptor, &status) &&
           status.st_dev == file->device && status.st_ino == file->inode;
}

void
hhi_kept_file_close(struct hhi_kept_file *file)
{
    if (hhi_kept_file_is_ours(file))
        hhi_os_close(file->descriptor);
    hhi_kept_file_init(file);
}

static bool
text_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\0';
}

bool
hhi_kept_parse(const char *text, uint64_t *value)
{
    uint64_t number = 0;
    if (strncmp(text, "max", 3) == 0 && text_is_space(text[3])) {
        *value = UINT64_MAX;
        return true;
    }
    const char *next = text;
    for (; *next >= '0' && *next <= '9'; next++) {
        uint64_t digit = (uint64_t)(*next - '0');
        number = number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : number * 10 + digit;
    }
    if (next == text || !text_is_space(*next))
        return false;
    *value = number;
    return true;
}

enum hhi_kept_result
hhi_kept_file_number(const struct hhi_kept_file *file, uint64_t *value)
{
    char text[64];
    if (file->descriptor < 0)
        return HHI_KEPT_ABSENT;
    if (!hhi_kept_file_is_ours(file))
        return HHI_KEPT_LOST;
    ssize_t length = hhi_os_read_at(file->descriptor, text, sizeof text - 1, 0);
    if (length == -ENODEV || !hhi_kept_file_is_ours(file))
        return HHI_KEPT_LOST;
    if (length < 0)
        return HHI_KEPT_ABSENT;
    text[length] = '\0';
    return hhi_kept_parse(text, value) ? HHI_KEPT_OK : HHI_KEPT_ABSENT;
}

void
hhi_kept_lines_start(struct hhi_kept_lines *lines, int descriptor)
{
    lines->descriptor = descriptor;
    lines->skipping = false;
    lines->offset = 0;
    lines->begin = lines->end = 0;
    lines->result = 0;
}

// Reads more behind what is left over; false at the end of the file.
static bool
lines_refill(struct hhi_kept_lines *lines)
{
    size_t left_bytes = lines->end - lines->begin;
    if (left_bytes == sizeof lines->buffer - 1) { // one line fills it all
        lines->skipping = true;
        left_bytes = 0;
    }
    memmove(lines->buffer, lines->buffer + lines->end - left_bytes, left_bytes);
    lines->begin = 0;
    lines->end = left_bytes;
    lines->result = hhi_os_read_at(lines->descriptor, lines->buffer + left_bytes,
                                   sizeof lines->buffer - 1 - left_bytes, lines->offset);
    if (lines->result <= 0)
        return false;
    lines->end += (size_t)lines->result;
    lines->offset += (uint64_t)lines->result;
    return true;
}

char *
hhi_kept_lines_next(struct hhi_kept_lines *lines)
{
    for (;;) {
        char *begin = lines->buffer + lines->begin;
        char *newline = memchr(begin, '\n', lines->end - lines->begin);
        if (newline == NULL) {
            if (lines_refill(lines))
                continue;
            // What stands after the last newline is a line too.
            if (lines->skipping || lines->end == 0)
                return NULL;
            lines->buffer[lines->end] = '\0';
            lines->end = 0;
            return lines->buffer;
        }
        *newline = '\0';
        lines->begin = (size_t)(newline + 1 - lines->buffer);
        if (!lines->skipping)
            return begin;
        lines->skipping = false;
    }
}

static void
field_take(struct hhi_kept_field *field, const char *line)
{
    size_t length = strlen(field->name);
    if (field->found || strncmp(line, field->name, length) != 0)
        return;
    const char *text = line + length;
    if (*text == ':')
        text++;
    if (*text != ' ' && *text != '\t')
        return;
    text += strspn(text, " \t");
    field->found = hhi_kept_parse(text, &field->value);
}

enum hhi_kept_result
hhi_kept_file_fields(const struct hhi_kept_file *file, struct hhi_kept_field *fields,
                     unsigned count)
{
    struct hhi_kept_lines lines;
    for (unsigned i = 0; i < count; i++)
        fields[i].found = false;
    if (file->descriptor < 0)
        return HHI_KEPT_ABSENT;
    if (!hhi_kept_file_is_ours(file))
        return HHI_KEPT_LOST;
    unsigned missing = count;
    hhi_kept_lines_start(&lines, file->descriptor);
    for (char *line; missing != 0 && (line = hhi_kept_lines_next(&lines)) != NULL;) {
        missing = 0;
        for (unsigned i = 0; i < count; i++) {
            field_take(&fields[i], line);
            missing += !fields[i].found;
        }
    }
    return lines.result == -ENODEV || !hhi_kept_file_is_ours(file) ? HHI_KEPT_LOST : HHI_KEPT_OK;
}
