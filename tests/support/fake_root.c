// SPDX-License-Identifier: MIT
// tests/support/fake_root.c - see fake_root.h.
#include "support/fake_root.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/test.h"

const char *
fake_root_path(const struct fake_root *root, const char *name)
{
    static char path[4096];
    assert_true((size_t)snprintf(path, sizeof path, "%s%s", root->path, name) < sizeof path);
    return path;
}

void
fake_root_make(struct fake_root *root)
{
    strcpy(root->path, "/tmp/hostheap-root-XXXXXX");
    assert_non_null(mkdtemp(root->path));
}

static int
fake_root_remove_one(const char *path, const struct stat *status, int flag, struct FTW *walk)
{
    (void)status, (void)flag, (void)walk;
    return remove(path);
}

void
fake_root_remove(struct fake_root *root)
{
    assert_int_equal(nftw(root->path, fake_root_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void
fake_root_write(const struct fake_root *root, const char *name, const char *text)
{
    char path[4096];
    strcpy(path, fake_root_path(root, name));
    for (char *slash = strchr(path + strlen(root->path) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, text, strlen(text)), strlen(text));
    close(descriptor);
}

void
fake_root_write_number(const struct fake_root *root, const char *name, uint64_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64 "\n", number);
    fake_root_write(root, name, text);
}
