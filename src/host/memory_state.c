// SPDX-License-Identifier: MIT
// host/memory_state.c - see memory_state.h.
#include "host/memory_state.h"

#define MIB ((uint64_t)1 << 20)

uint64_t
hhi_memory_low_bytes(uint64_t total_bytes)
{
    uint64_t low_bytes = total_bytes / 32;
    if (low_bytes < 64 * MIB)
        return 64 * MIB;
    return low_bytes < 1024 * MIB ? low_bytes : 1024 * MIB;
}

void
hhi_memory_state_init(struct hhi_memory_state *machine)
{
    *machine = (struct hhi_memory_state){0};
}

void
hhi_memory_state_greet(struct hhi_memory_state *machine)
{
    machine->told = false;
}

static bool
memory_stays_low(const struct hhi_memory_state *machine, const struct hhi_memory_reading *reading,
                 uint64_t low_bytes)
{
    bool calm =
        !machine->pressed || reading->now_ms - machine->pressure_ms >= HHI_MEMORY_LOW_CALM_MS;
    return !calm || reading->available_bytes <= low_bytes + low_bytes / 4;
}

static uint32_t
memory_next_state(const struct hhi_memory_state *machine, const struct hhi_memory_reading *reading)
{
    uint64_t low_bytes = hhi_memory_low_bytes(reading->total_bytes);
    uint64_t high_bytes = 3 * low_bytes;
    if (reading->available_bytes < low_bytes || reading->pressure)
        return eMemoryAvailableLow;
    if (machine->state == eMemoryAvailableLow && memory_stays_low(machine, reading, low_bytes))
        return eMemoryAvailableLow;
    if (machine->state == eMemoryAvailableHigh)
        return reading->available_bytes < high_bytes - high_bytes / 10 ? eMemoryAvailableNeutral
                                                                       : eMemoryAvailableHigh;
    if (reading->available_bytes > high_bytes &&
        reading->now_ms - machine->calm_from_ms >= HHI_MEMORY_HIGH_CALM_MS)
        return eMemoryAvailableHigh;
    return eMemoryAvailableNeutral;
}

static bool
memory_is_to_be_sent(const struct hhi_memory_state *machine, uint32_t before, uint64_t now_ms)
{
    if (!machine->told || machine->state != before)
        return true;
    return (machine->state == eMemoryAvailableLow || machine->first_again) &&
           now_ms - machine->sent_ms >= HHI_MEMORY_REPEAT_MS;
}

uint32_t
hhi_memory_state_step(struct hhi_memory_state *machine, const struct hhi_memory_reading *reading)
{
    uint32_t before = machine->state;
    if (before == 0 || reading->pressure)
        machine->calm_from_ms = reading->now_ms;
    if (reading->pressure) {
        machine->pressure_ms = reading->now_ms;
        machine->pressed = true;
    }
    machine->state = memory_next_state(machine, reading);
    if (!memory_is_to_be_sent(machine, before, reading->now_ms))
        return 0;
    // Whatever is sent after the first notice repeats it or replaces it.
    machine->first_again = !machine->told;
    machine->told = true;
    machine->sent_ms = reading->now_ms;
    return machine->state;
}
