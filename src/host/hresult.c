// SPDX-License-Identifier: MIT
// host/hresult.c - see hresult.h.

#include "host/hresult.h"

#include "base/check.h"

hh_hresult
hhi_hresult_from_status(hh_status status)
{
    switch (status) {
    case HH_OK:
        return S_OK;
    case HH_E_NO_MEMORY:
        return E_OUTOFMEMORY;
    case HH_E_INVALID_ARGUMENT:
        return E_INVALIDARG;
    case HH_E_INVALID_BLOCK:
        return HOST_E_INVALIDOPERATION;
    case HH_E_ACCESS_DENIED:
        return E_ACCESSDENIED;
    }
    // A status nobody defined is a fault of ours, not of the caller.
    HH_ASSERT(false);
    return E_UNEXPECTED;
}
