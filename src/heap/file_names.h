// SPDX-License-Identifier: MIT
/*
 * heap/file_names.h - names of source files, each kept once and never given back (DebugAlloc).
 *
 * Layer: heap. May include: base, os, meta.
 *
 * Who keeps names has the table and a lock of its own (rank: limbo) for it.
 */
#ifndef HHI_HEAP_FILE_NAMES_H
#define HHI_HEAP_FILE_NAMES_H

#include <string.h>

#include "base/compiler.h"
#include "meta/meta_arena.h"
#include "os/lock.h"

enum { HHI_FILE_NAME_BYTES = 255, HHI_FILE_BUCKETS = 256 };

struct hhi_file_name {
    struct hhi_file_name *next;
    char text[];
};

static inline uint32_t
hhi_file_name_hash(const char *text, size_t length)
{
    uint32_t hash = 2166136261u;
    for (size_t at = 0; at < length; at++)
        hash = (hash ^ (unsigned char)text[at]) * 16777619u;
    return hash;
}

// The kept copy of a name, cut to 255 bytes; NULL for NULL, or when there is no memory for it.
static inline const char *
hhi_file_name_intern(struct hhi_lock *lock, struct hhi_file_name **buckets, const char *file)
{
    if (file == NULL)
        return NULL;
    size_t length = strnlen(file, HHI_FILE_NAME_BYTES);
    hhi_lock_enter(lock);
    struct hhi_file_name **bucket = &buckets[hhi_file_name_hash(file, length) % HHI_FILE_BUCKETS];
    struct hhi_file_name *name = *bucket;
    while (name != NULL && (strncmp(name->text, file, length) != 0 || name->text[length] != 0))
        name = name->next;
    if (name == NULL) {
        name = hhi_meta_alloc(sizeof *name + length + 1);
        if (name != NULL) {
            memcpy(name->text, file, length);
            name->next = *bucket;
            *bucket = name;
        }
    }
    hhi_lock_leave(lock);
    return name == NULL ? NULL : name->text;
}

#endif
