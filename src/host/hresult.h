// SPDX-License-Identifier: MIT
/*
 * host/hresult.h - the one place where inner results become HRESULTs.
 *
 * Layer: host. May include: base, os, diag, options, region, heap, process.
 */
#ifndef HHI_HOST_HRESULT_H
#define HHI_HOST_HRESULT_H

#include <hostheap/host_types.h>

#include "heap/heap.h"

// HH_OK: S_OK; no memory: E_OUTOFMEMORY; a bad block: HOST_E_INVALIDOPERATION; a bad argument:
// E_INVALIDARG; executable pages refused: E_ACCESSDENIED.
hh_hresult hhi_hresult_from_status(hh_status status);

// 0: S_OK; any reason to refuse a block: HOST_E_INVALIDOPERATION (FR-1, FR-6).
static inline hh_hresult
hhi_hresult_from_refusal(hhi_refusal refusal)
{
    return hh_likely(refusal == 0) ? S_OK : HOST_E_INVALIDOPERATION;
}

#endif
