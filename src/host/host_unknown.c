// SPDX-License-Identifier: MIT
// host/host_unknown.c - see host_unknown.h. Source: contract sections 3 and 4.

#include "host/host_unknown.h"

_Static_assert(sizeof(hh_guid) == 16 && _Alignof(hh_guid) == 4, "a GUID is 16 bytes");

const hh_guid IID_IUnknown = {
    0x00000000, 0x0000, 0x0000, {0xC0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x46}};
const hh_guid IID_IHostMemoryManager = {
    0x7BC698D1, 0xF9E3, 0x4460, {0x9C, 0xDE, 0xD0, 0x42, 0x48, 0xE9, 0xFA, 0x25}};
const hh_guid IID_IHostMalloc = {
    0x1831991C, 0xCC53, 0x4A31, {0xB2, 0x18, 0x04, 0xE9, 0x10, 0x44, 0x64, 0x79}};
const hh_guid IID_ICLRMemoryNotificationCallback = {
    0x47EB8E57, 0x0846, 0x4546, {0xAF, 0x76, 0x6F, 0x42, 0xFC, 0xFC, 0x26, 0x49}};
const hh_guid IID_IHostControl = {
    0x02CA073C, 0x7079, 0x4860, {0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9, 0x91}};

bool
hhi_guid_equal(const hh_guid *a, const hh_guid *b)
{
    // A GUID has no padding, but the caller's may lie at any 4-byte boundary: compare as bytes.
    return __builtin_memcmp(a, b, sizeof *a) == 0;
}

uint32_t
hhi_references_add(struct hhi_references *references)
{
    // relaxed: a guess that the exchange below validates.
    uint32_t count = hh_load_relaxed(&references->count);
    do {
        if (count == HHI_REFERENCES_MOST)
            return count;
        // relaxed: who adds a reference holds one already, so nothing can end meanwhile.
    } while (!hh_cas_strong_relaxed(&references->count, &count, count + 1));
    return count + 1;
}

uint32_t
hhi_references_drop(struct hhi_references *references, bool *last)
{
    *last = false;
    // relaxed: a guess that the exchange below validates.
    uint32_t count = hh_load_relaxed(&references->count);
    do {
        if (count == 0 || count == HHI_REFERENCES_MOST)
            return count;
        // order: acq_rel [HU-1] the last holder sees what the others did with the object.
    } while (!hh_cas_weak_acq_rel(&references->count, &count, count - 1));
    *last = count == 1;
    return count - 1;
}

hh_hresult
hhi_host_query(void *self, struct hhi_references *references, const hh_guid *own,
               const hh_guid *riid, void **ppv)
{
    if (ppv == NULL)
        return E_POINTER;
    *ppv = NULL;
    if (riid == NULL)
        return E_INVALIDARG;
    if (!hhi_guid_equal(riid, own) && !hhi_guid_equal(riid, &IID_IUnknown))
        return E_NOINTERFACE;
    hhi_references_add(references);
    *ppv = self;
    return S_OK;
}
