// SPDX-License-Identifier: MIT
// Inner results to HRESULTs: every status and every reason to refuse a block.

#include "host/hresult.h"
#include "support/host.h"

static void
every_status_has_its_hresult(void **state)
{
    (void)state;
    assert_int_equal(hhi_hresult_from_status(HH_OK), S_OK);
    assert_int_equal(hhi_hresult_from_status(HH_E_NO_MEMORY), E_OUTOFMEMORY);
    assert_int_equal(hhi_hresult_from_status(HH_E_INVALID_ARGUMENT), E_INVALIDARG);
    assert_int_equal(hhi_hresult_from_status(HH_E_INVALID_BLOCK), HOST_E_INVALIDOPERATION);
    assert_int_equal(hhi_hresult_from_status(HH_E_ACCESS_DENIED), E_ACCESSDENIED);
}

static void
every_refusal_is_an_invalid_operation(void **state)
{
    (void)state;
    assert_int_equal(hhi_hresult_from_refusal(0), S_OK);
    for (hhi_refusal why = HH_BAD_FOREIGN; why <= HH_BAD_ALIGNMENT_MISMATCH; why++)
        assert_int_equal(hhi_hresult_from_refusal(why), HOST_E_INVALIDOPERATION);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_hresult),
        cmocka_unit_test(every_refusal_is_an_invalid_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
