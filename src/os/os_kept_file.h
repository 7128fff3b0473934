// SPDX-License-Identifier: MIT
/*
 * os/os_kept_file.h - descriptors kept open for long in a process that does not know of them.
 *
 * Layer: os. May include: base.
 *
 * A program may close any descriptor and open a file of its own in the place. So a kept descriptor
 * remembers the device and inode it was opened on and is compared with them before and after each
 * reading, and before it is closed. It never takes one of the three standard numbers.
 *
 * Files are read with pread into a buffer on the stack, or written from their start on; errno, the heap and stdio are not touched.
 * A kept file belongs to one thread at a time.
 *
 * Source: contract 16.10.
 */
#ifndef HHI_OS_OS_KEPT_FILE_H
#define HHI_OS_OS_KEPT_FILE_H

#include <sys/types.h>

#include "base/compiler.h"

struct hhi_kept_file {
    int descriptor; // -1 = not open
    dev_t device;
    ino_t inode;
};

enum hhi_kept_result {
    HHI_KEPT_OK,
    HHI_KEPT_ABSENT, // not open, or the contents are not what they should be
    HHI_KEPT_LOST,   // the descriptor is not ours any more, or the kernel object behind it is gone
};

void hhi_kept_file_init(struct hhi_kept_file *file);
// access: O_RDONLY or O_RDWR, O_NONBLOCK; O_CLOEXEC is added. False: it could not be opened.
bool hhi_kept_file_open(struct hhi_kept_file *file, const char *path, int access);
// Create or empty a file for hhi_kept_file_write. 0 or -errno.
int hhi_kept_file_create(struct hhi_kept_file *file, const char *path);
// Write behind what was written before. False: the descriptor is not ours, or not all could be.
bool hhi_kept_file_write(const struct hhi_kept_file *file, const void *data, size_t size_bytes);
// A descriptor's new number, one that no program expects to be free; it is closed under the old one.
// Negative: there is none, and it is closed.
int hhi_kept_file_raise(int descriptor);
// Take over a descriptor that was made in another way. False: no such descriptor.
bool hhi_kept_file_adopt(struct hhi_kept_file *file, int descriptor);
bool hhi_kept_file_is_ours(const struct hhi_kept_file *file);
// Closes the descriptor if it is still ours, and forgets it.
void hhi_kept_file_close(struct hhi_kept_file *file);

// One decimal number, or "max" = UINT64_MAX; a number too large for 64 bits is UINT64_MAX too.
bool hhi_kept_parse(const char *text, uint64_t *value);
// The file holds one such number.
enum hhi_kept_result hhi_kept_file_number(const struct hhi_kept_file *file, uint64_t *value);

// One line "name value" or "name: value" of a file.
struct hhi_kept_field {
    const char *name;
    uint64_t value;
    bool found;
};
// Sets value and found of each field. OK also when none was found.
enum hhi_kept_result hhi_kept_file_fields(const struct hhi_kept_file *file,
                                          struct hhi_kept_field *fields, unsigned count);

// Lines of an open descriptor from its start; a line that does not fit the buffer is left out.
struct hhi_kept_lines {
    int descriptor;
    bool skipping;   // inside a line that is left out
    uint64_t offset; // of the next pread
    size_t begin, end;
    ssize_t result; // of the last pread
    char buffer[3072];
};
void hhi_kept_lines_start(struct hhi_kept_lines *lines, int descriptor);
// The next line without its end, NUL-terminated, valid until the next call; NULL at the end.
char *hhi_kept_lines_next(struct hhi_kept_lines *lines);

#endif
