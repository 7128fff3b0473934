// SPDX-License-Identifier: MIT
// host/host_control.c - see host_control.h. Source: contract COM-7, sections 3 and 16.8.

#include "host/host_control.h"

#include "base/atomic.h"
#include "host/host_dead.h"
#include "host/host_memory_manager.h"
#include "host/host_unknown.h"
#include "rcu/rcu.h"

static hh_hresult
control_get_host_manager(IHostControl *self, const hh_guid *riid, void **object)
{
    (void)self;
    if (object == NULL)
        return E_POINTER;
    *object = NULL;
    if (riid == NULL)
        return E_INVALIDARG;
    if (!hhi_guid_equal(riid, &IID_IHostMemoryManager))
        return E_NOINTERFACE;
    hhi_rcu_start();
    IHostMemoryManager *manager = hhi_host_memory_manager();
    hhi_host_memory_manager_add_ref(manager);
    *object = manager;
    return S_OK;
}

static hh_hresult
control_set_app_domain_manager(IHostControl *self, uint32_t domain_id, void *unknown)
{
    // Nothing of memory depends on who manages the domains.
    (void)self, (void)domain_id, (void)unknown;
    return S_OK;
}

static const IHostControlVtbl control_live = {
    .QueryInterface = hhi_host_control_query_interface,
    .AddRef = hhi_host_control_add_ref,
    .Release = hhi_host_control_release,
    .GetHostManager = control_get_host_manager,
    .SetAppDomainManager = control_set_app_domain_manager,
};

// The one object of the process; it outlives every reference, as the manager does.
static struct {
    _Atomic(const IHostControlVtbl *) table; // what callers see as IHostControl.lpVtbl
    struct hhi_references references;
} control HH_START_STATE = {.table = &control_live};

_Static_assert(sizeof control.table == sizeof(IHostControl), "the table is the interface");

hh_hresult
hhi_host_control_query_interface(IHostControl *self, const hh_guid *riid, void **ppv)
{
    return hhi_host_query(self, &control.references, &IID_IHostControl, riid, ppv);
}

uint32_t
hhi_host_control_add_ref(IHostControl *self)
{
    (void)self;
    return hhi_references_add(&control.references);
}

uint32_t
hhi_host_control_release(IHostControl *self)
{
    (void)self;
    bool last; // ends nothing
    return hhi_references_drop(&control.references, &last);
}

void
hhi_host_control_bury(void)
{
    // relaxed: the object is static, nothing but the table's address changes.
    hh_store_relaxed(&control.table, &hhi_host_control_dead);
}

hh_hresult
hh_get_host_control(IHostControl **out)
{
    if (out == NULL)
        return E_POINTER;
    *out = (IHostControl *)&control;
    hhi_host_control_add_ref(*out);
    return S_OK;
}
