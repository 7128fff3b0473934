# SPDX-License-Identifier: MIT
# The checked library's files under the sanitizers, which leave no room for a drop-in: behind
# IHostMalloc and hostheap.h. Included by tests/CMakeLists.txt.
set(checked_dir ${CMAKE_CURRENT_LIST_DIR})

# A program of this folder whose malloc is front.h's.
foreach(program heap program)
    add_executable(checked_native_${program} checked/checked_${program}.c)
    target_compile_definitions(checked_native_${program} PRIVATE HH_CHECKED_NATIVE)
    target_include_directories(checked_native_${program} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(checked_native_${program} PRIVATE hostheap_native_checked hostheap_flags)
endforeach()
foreach(part sizes heaps threads handler limit)
    add_test(NAME checked.${part} COMMAND checked_native_heap ${part})
    hh_test_properties(checked.${part} TIMEOUT 200)
endforeach()
foreach(part heaps threads)
    add_test(NAME checked.${part}_small_quarantine COMMAND checked_native_heap ${part})
    hh_test_properties(checked.${part}_small_quarantine TIMEOUT 200
        ENV "HOSTHEAP_OPTIONS=quarantine:100k")
    add_test(NAME checked.${part}_sampled COMMAND checked_native_heap ${part})
    hh_test_properties(checked.${part}_sampled TIMEOUT 200
        ENV "HOSTHEAP_OPTIONS=quarantine:1g,sample:1")
endforeach()
hh_test_properties(checked.limit TIMEOUT 200
    ENV "HOSTHEAP_OPTIONS=hard_limit:64m,quarantine:1g,sample:1000000000")
hh_test_properties(checked.handler TIMEOUT 200 ENV "HOSTHEAP_OPTIONS=sample:1000000000")
add_test(NAME checked.sampled_sides COMMAND checked_native_heap sampled)
hh_test_properties(checked.sampled_sides TIMEOUT 200 ENV "HOSTHEAP_OPTIONS=sample:1")
hh_command_test(checked.placement
    COMMAND /bin/sh ${checked_dir}/run_placement.sh - $<TARGET_FILE:checked_native_heap>)
# Two shapes fault: the signal is the program's end, not the sanitizer's.
hh_command_test(checked.reports
    ENV "HOSTHEAP_OPTIONS=sample:1000000000,seed:1,quarantine:1m" "ASAN_OPTIONS=handle_segv=0"
        "TSAN_OPTIONS=handle_segv=0" TIMEOUT 200
    COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/preload/run_reports.py
            - $<TARGET_FILE:checked_native_program> ${checked_dir}/reports.golden --first-lines)

# Programs of other folders, which find the checked library under the name of the one they were linked
# with.
foreach(test native_test_native_api contract_test_alloc contract_test_create_malloc
        contract_test_critical_levels contract_test_unknown)
    add_test(NAME checked.${test} COMMAND ${CMAKE_COMMAND} -E env
        LD_LIBRARY_PATH=$<TARGET_FILE_DIR:hostheap_native_checked> $<TARGET_FILE:${test}>)
    hh_test_properties(checked.${test} TIMEOUT 300)
endforeach()
# Without quarantine an ended block's address is free at once, as these tests want it.
add_test(NAME checked.debug_alloc COMMAND ${CMAKE_COMMAND} -E env
    LD_LIBRARY_PATH=$<TARGET_FILE_DIR:hostheap_native_checked>
    $<TARGET_FILE:contract_test_debug_alloc>)
hh_test_properties(checked.debug_alloc TIMEOUT 120
    ENV "HOSTHEAP_OPTIONS=quarantine:0,sample:1000000000")
