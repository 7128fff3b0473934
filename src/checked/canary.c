// SPDX-License-Identifier: MIT
// checked/canary.c - see canary.h.
#include "checked/canary.h"

#include <string.h>

#include "base/bits.h"

#define CANARY_ODD 0x0101010101010101u
#define CANARY_MULTIPLIER 0x9E3779B97F4A7C15u // odd: neighbouring words differ
#define JUNK_WORD (CANARY_ODD * HHI_JUNK_BYTE)

static uint64_t canary_secret;

void
hhi_canary_start(uint64_t secret)
{
    canary_secret = secret;
}

static uint64_t
canary_word(uintptr_t address)
{
    uint64_t word = (canary_secret ^ address / sizeof word) * CANARY_MULTIPLIER;
    return (word ^ word >> 32) | CANARY_ODD;
}

static unsigned char
canary_byte(uintptr_t address)
{
    return (unsigned char)(canary_word(address) >> (address % sizeof(uint64_t) * 8));
}

void
hhi_canary_fill(uintptr_t from, uintptr_t to)
{
    for (; from < to && from % sizeof(uint64_t) != 0; from++)
        *(unsigned char *)from = canary_byte(from);
    for (; from + sizeof(uint64_t) <= to; from += sizeof(uint64_t)) {
        uint64_t word = canary_word(from);
        memcpy((void *)from, &word, sizeof word);
    }
    for (; from < to; from++)
        *(unsigned char *)from = canary_byte(from);
}

uintptr_t
hhi_canary_check(uintptr_t from, uintptr_t to)
{
    for (; from < to && from % sizeof(uint64_t) != 0; from++)
        if (*(const unsigned char *)from != canary_byte(from))
            return from;
    for (; from + sizeof(uint64_t) <= to; from += sizeof(uint64_t)) {
        uint64_t word = canary_word(from);
        if (memcmp((const void *)from, &word, sizeof word) != 0)
            break; // the byte is found below
    }
    for (; from < to; from++)
        if (*(const unsigned char *)from != canary_byte(from))
            return from;
    return 0;
}

void
hhi_junk_fill(uintptr_t from, uintptr_t to)
{
    memset((void *)from, HHI_JUNK_BYTE, to - from);
}

uintptr_t
hhi_junk_check(uintptr_t from, uintptr_t to)
{
    const uint64_t junk = JUNK_WORD;
    while (from + sizeof junk <= to && memcmp((const void *)from, &junk, sizeof junk) == 0)
        from += sizeof junk;
    for (; from < to; from++)
        if (*(const unsigned char *)from != HHI_JUNK_BYTE)
            return from;
    return 0;
}
