// SPDX-License-Identifier: MIT
/*
 * heap/clear.h - make a block that was used before read as zero.
 *
 * Layer: heap. May include: base, os.
 *
 * Programs ask for large zeroed tables and use little of them. memset would make every page of such a
 * table resident, and the next one in the same place would find all of them there. So what reads as
 * zero already is left as it is: pages are looked at before they are written, and where most of
 * a MiB is not there at all, it is given back instead, which makes it zero.
 *
 *   pages    | used | zero | zero | used | used | not there ... one used ... not there |
 *   written     x                    x      x     given back: read as zero, not resident
 *
 * Looking costs less than writing: a used page shows in its first bytes, and a page that was only read is the
 * same 4 KiB of zeros for all of them. One that is not there costs a fault, and memory too where the kernel has no
 * such page; so the kernel is asked first whether many are away, as long as the answer is worth it.
 */
#ifndef HHI_HEAP_CLEAR_H
#define HHI_HEAP_CLEAR_H

#include "base/compiler.h"

// Below it memset is as good: a page is hardly ever without a written byte.
enum { HHI_CLEAR_LOOK_BYTES = 32 * 1024 };

// block: a multiple of 16, readable and writable, the caller's alone. Any thread; a fraction of a
// memset where little is to be cleared, a few per cent more where all is.
void hhi_clear(void *block, size_t size_bytes);

#endif
