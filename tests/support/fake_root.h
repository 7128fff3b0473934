// SPDX-License-Identifier: MIT
// tests/support/fake_root.h - a folder that stands for "/" with made-up files of the kernel.
#ifndef HH_TESTS_SUPPORT_FAKE_ROOT_H
#define HH_TESTS_SUPPORT_FAKE_ROOT_H

#include <stdint.h>

struct fake_root {
    char path[64];
};

// cmocka asserts inside: for the test's thread only.
void fake_root_make(struct fake_root *root);
void fake_root_remove(struct fake_root *root);
// Writes a file, with the folders above it. The inode stays the same if the file is there.
void fake_root_write(const struct fake_root *root, const char *name, const char *text);
void fake_root_write_number(const struct fake_root *root, const char *name, uint64_t number);
// The whole path, in a static buffer.
const char *fake_root_path(const struct fake_root *root, const char *name);

#endif
