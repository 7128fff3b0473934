// SPDX-License-Identifier: MIT
/*
 * fuzz/fuzz.h - what a fuzz target is made of.
 *
 * A target is LLVMFuzzerTestOneInput over a shadow model: the input decides what is called, the
 * model says what must be answered. The same source is linked with libFuzzer, with AFL++'s driver
 * of the same interface, and with fuzz_replay.c, which plays files. Inputs that run out give zeros.
 */
#ifndef HH_TESTS_FUZZ_FUZZ_H
#define HH_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Ends the process when the library and the model do not agree.
#define fuzz_check(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition);  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct fuzz_input {
    const uint8_t *at, *end;
};

static inline bool
fuzz_more(const struct fuzz_input *input)
{
    return input->at < input->end;
}

static inline uint32_t
fuzz_byte(struct fuzz_input *input)
{
    return fuzz_more(input) ? *input->at++ : 0;
}

static inline uint32_t
fuzz_short(struct fuzz_input *input)
{
    uint32_t low = fuzz_byte(input);
    return low | fuzz_byte(input) << 8;
}

static inline uint64_t
fuzz_long(struct fuzz_input *input)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 16)
        value |= (uint64_t)fuzz_short(input) << shift;
    return value;
}

#endif
