// SPDX-License-Identifier: MIT
/*
 * region/region_foreign.h - memory that is mapped but not ours, in the contract's terms.
 *
 * Layer: region. May include: base, os, diag, options, meta, rcu.
 *
 * Thread rules: any thread; hhi_region_foreign_protect under the regions' lock.
 * Source: contract 8.4 PR-5, 8.6.
 */
#ifndef HHI_REGION_REGION_FOREIGN_H
#define HHI_REGION_REGION_FOREIGN_H

#include "os/os.h"
#include "region/region.h"

// PAGE_ value (FM-3) and MEM_ type (FM-4) of a mapping.
uint32_t hhi_region_foreign_protection(const struct hhi_os_mapping *mapping);
uint32_t hhi_region_foreign_type(const struct hhi_os_mapping *mapping);

// The same for one page of it, guard pages included; *end, the mapping's end or less, becomes the end
// of the pages alike.
uint32_t hhi_region_foreign_protection_at(uintptr_t page, const struct hhi_os_mapping *mapping,
                                          uintptr_t *end);
// As hhi_region_guard_fault, for a page that is not ours. Under the regions' lock.
bool hhi_region_foreign_guard_fault(uintptr_t page);

// Whether the page is of a private mapping of a file, the only kind that can be copy-on-write.
bool hhi_region_foreign_is_view(uintptr_t page);

// Set the protection of pages of which none is ours. As hhi_region_protect.
enum hhi_vm_status hhi_region_foreign_protect(uintptr_t first, uintptr_t end, uint32_t protection,
                                              uint32_t *old);

#endif
