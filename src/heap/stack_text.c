// SPDX-License-Identifier: MIT
// heap/stack_text.c - see stack_text.h.
#include "heap/stack_text.h"

#include <string.h>

#include "diag/diag.h"
#include "os/os.h"
#include "os/proc_maps.h"

enum { STACK_LINE_BYTES = 320, CALL_MAX_BYTES = 7 };

// Whether the bytes before code, readable, can be a call.
static bool
code_follows_call(const unsigned char *code)
{
#if defined(__x86_64__)
    if (code[-5] == 0xE8)
        return true;
    // call r/m: FF /2, of 2, 3, 4, 6 or 7 bytes with its address.
    for (int length = 2; length <= CALL_MAX_BYTES; length++)
        if (code[-length] == 0xFF && (code[1 - length] & 0x38) == 0x10)
            return true;
    return false;
#else
    uint32_t instruction;
    memcpy(&instruction, code - 4, sizeof instruction);
    return (instruction & 0xFC000000u) == 0x94000000u || // BL
           (instruction & 0xFFFFFC1Fu) == 0xD63F0000u;   // BLR
#endif
}

static bool
word_is_return_address(uintptr_t word)
{
    struct hhi_os_mapping mapping;
    unsigned code = HHI_ACCESS_READ | HHI_ACCESS_EXECUTE;
    if (word < hhi_os_page_bytes() || hhi_os_find_mapping(word - 1, &mapping) != 0)
        return false;
    return word - CALL_MAX_BYTES >= mapping.start && word <= mapping.end &&
           (mapping.access & code) == code && code_follows_call((const unsigned char *)word);
}

// The hexadecimal number at text, which ends at the first other character.
static uintptr_t
line_number(const char *text)
{
    uintptr_t number = 0;
    for (;; text++) {
        if (*text >= '0' && *text <= '9')
            number = number * 16 + (uintptr_t)(*text - '0');
        else if (*text >= 'a' && *text <= 'f')
            number = number * 16 + (uintptr_t)(*text - 'a') + 10;
        else
            return number;
    }
}

// The address, and its place in the file that is mapped there: what symbolisers want.
static size_t
stack_frame_text(char *text, size_t capacity_bytes, uintptr_t address)
{
    // "start-end access offset device inode   file"
    char line[STACK_LINE_BYTES];
    const char *file = NULL, *access = NULL;
    if (hhi_os_describe_mapping((const void *)(address - 1), line, sizeof line)) {
        file = strchr(line, '/');
        access = strchr(line, ' ');
    }
    if (file == NULL || access == NULL || access > file)
        return hhi_diag_format(text, capacity_bytes, "\n    %p", (void *)address);
    size_t offset = address - line_number(line) + line_number(access + sizeof " rwxp");
    return hhi_diag_format(text, capacity_bytes, "\n    %p %s+%p", (void *)address, file,
                           (void *)offset);
}

size_t
hhi_stack_text(char *text, size_t capacity_bytes, const uintptr_t *words, uint32_t count,
               unsigned frames)
{
    size_t length_bytes = 0;
    for (uint32_t at = 0; at < count && frames > 0; at++) {
        if (!word_is_return_address(words[at]))
            continue;
        length_bytes +=
            stack_frame_text(text + length_bytes, capacity_bytes - length_bytes, words[at]);
        frames--;
    }
    return length_bytes;
}
