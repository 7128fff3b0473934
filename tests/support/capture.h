// SPDX-License-Identifier: MIT
/*
 * support/capture.h - what a piece of code wrote to standard error.
 */
#ifndef HH_TEST_CAPTURE_H
#define HH_TEST_CAPTURE_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct capture {
    int file;
    int saved_stderr;
};

static inline struct capture
capture_begin(void)
{
    struct capture capture = {memfd_create("capture", MFD_CLOEXEC), dup(STDERR_FILENO)};
    if (capture.file < 0 || capture.saved_stderr < 0 || dup2(capture.file, STDERR_FILENO) < 0)
        abort();
    return capture;
}

// Ends the capture; text receives what was written, NUL-terminated and cut to fit.
static inline size_t
capture_end(struct capture *capture, char *text, size_t capacity_bytes)
{
    dup2(capture->saved_stderr, STDERR_FILENO);
    close(capture->saved_stderr);
    ssize_t length = pread(capture->file, text, capacity_bytes - 1, 0);
    close(capture->file);
    text[length < 0 ? 0 : length] = '\0';
    return length < 0 ? 0 : (size_t)length;
}

#endif
