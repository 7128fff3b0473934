// SPDX-License-Identifier: MIT
/*
 * host/memory_state.h - when a runtime is told that memory is low, neutral or high.
 *
 * Layer: host. May include: base, public headers.
 *
 * A machine of three states without a clock or a file of its own: the caller brings the time, what
 * is available, and whether the kernel reported pressure since the last step.
 *
 *   low  = clamp(total / 32, 64 MiB, 1 GiB)      high = 3 * low
 *
 *   Low      entered: available < low, or pressure
 *            left:    available > 1.25 * low and 4 s without pressure
 *   High     entered: available > high and 30 s without pressure
 *            left:    available < 0.9 * high, or pressure
 *   Neutral  otherwise
 *
 * The past before the first step is unknown and counts as pressure that ended just then, so that
 * High is never claimed on no evidence; it does not count for Low.
 *
 * What is to be sent: each state when it is entered; Low again every 8.2 s, because the runtime
 * counts one notice in 8192 ms; and the state that a receiver got first once more after 8.2 s,
 * because a runtime that has not started yet ignores what it is told.
 *
 * Invariants
 *   I1  after Low was sent, the next other thing sent is Neutral or High, as soon as Low is left.
 *   I2  two sendings of Low in a row are at least 8.2 s apart.
 *
 * Source: contract NO-2, NO-3, NO-6 (DECISION 42).
 */
#ifndef HHI_HOST_MEMORY_STATE_H
#define HHI_HOST_MEMORY_STATE_H

#include <hostheap/host_types.h>

#include "base/compiler.h"

enum {
    HHI_MEMORY_REPEAT_MS = 8200,
    HHI_MEMORY_LOW_CALM_MS = 4000,   // without pressure before Low may end
    HHI_MEMORY_HIGH_CALM_MS = 30000, // without pressure before High may begin
};

struct hhi_memory_state {
    uint32_t state;        // EMemoryAvailable; 0 before the first step
    bool told;             // the receiver has been sent something
    bool first_again;      // the receiver's first notice is still to be repeated
    uint64_t calm_from_ms; // of High: last pressure, or the first step
    uint64_t pressure_ms;  // of Low: last pressure
    bool pressed;          // pressure_ms is set
    uint64_t sent_ms;      // last sending to this receiver
};

// What a step looks at.
struct hhi_memory_reading {
    uint64_t now_ms; // only ever grows
    uint64_t total_bytes;
    uint64_t available_bytes;
    bool pressure; // the kernel reported some since the last step
};

uint64_t hhi_memory_low_bytes(uint64_t total_bytes);

void hhi_memory_state_init(struct hhi_memory_state *machine);
// There is a new receiver, who knows nothing: the next step tells it the state.
void hhi_memory_state_greet(struct hhi_memory_state *machine);
// Moves on. The result is to be sent now: EMemoryAvailable, or 0 = nothing.
uint32_t hhi_memory_state_step(struct hhi_memory_state *machine,
                               const struct hhi_memory_reading *reading);

#endif
