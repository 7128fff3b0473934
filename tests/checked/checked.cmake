# SPDX-License-Identifier: MIT
# Tests of libhostheap-malloc-checked.so. Included by tests/CMakeLists.txt.
set(checked_library $<TARGET_FILE:hostheap_malloc_checked>)
set(checked_dir ${CMAKE_CURRENT_LIST_DIR})

# A target built elsewhere, run under the checked library: hh_checked_test(name target [args...])
function(hh_checked_test name target)
    add_test(NAME checked.${name} COMMAND ${CMAKE_COMMAND} -E env LD_PRELOAD=${checked_library}
        $<TARGET_FILE:${target}> ${ARGN})
    hh_test_properties(checked.${name} TIMEOUT 120)
endfunction()

# The texts of its reports. Sampling would make their guard pages answer first, now and then.
add_executable(checked_program checked/checked_program.c)
target_include_directories(checked_program PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}
    ${PROJECT_SOURCE_DIR}/include)
target_compile_options(checked_program PRIVATE -fno-builtin -O0 -g)
target_link_libraries(checked_program PRIVATE ${CMAKE_DL_LIBS} hostheap_flags)
hh_command_test(checked.reports NEEDS hostheap_malloc_checked
    ENV "HOSTHEAP_OPTIONS=sample:1000000000,seed:1,quarantine:1m" TIMEOUT 120
    COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/preload/run_reports.py
            ${checked_library} $<TARGET_FILE:checked_program> ${checked_dir}/reports.golden)

# What must hold besides.
add_executable(checked_heap checked/checked_heap.c)
target_include_directories(checked_heap PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}
    ${PROJECT_SOURCE_DIR}/include)
target_compile_options(checked_heap PRIVATE -fno-builtin)
target_link_libraries(checked_heap PRIVATE ${CMAKE_DL_LIBS} hostheap_flags)
foreach(part sizes heaps threads handler limit faults guards)
    hh_checked_test(${part} checked_heap ${part})
endforeach()
# Nearly every block in quarantine comes out again; nearly none does.
foreach(part heaps threads)
    hh_checked_test(${part}_small_quarantine checked_heap ${part})
    hh_checked_test(${part}_sampled checked_heap ${part})
    hh_test_properties(checked.${part}_small_quarantine TIMEOUT 120
        ENV "HOSTHEAP_OPTIONS=quarantine:100k")
    hh_test_properties(checked.${part}_sampled TIMEOUT 120
        ENV "HOSTHEAP_OPTIONS=quarantine:1g,sample:1")
endforeach()
hh_test_properties(checked.limit TIMEOUT 120
    ENV "HOSTHEAP_OPTIONS=hard_limit:64m,quarantine:1g,sample:1000000000")
hh_test_properties(checked.handler TIMEOUT 120 ENV "HOSTHEAP_OPTIONS=sample:1000000000")
foreach(part faults guards)
    hh_test_properties(checked.${part} TIMEOUT 120 ENV "HOSTHEAP_OPTIONS=sample:1000000000")
endforeach()
hh_checked_test(sampled_sides checked_heap sampled)
hh_test_properties(checked.sampled_sides TIMEOUT 120 ENV "HOSTHEAP_OPTIONS=sample:1")
hh_command_test(checked.placement NEEDS hostheap_malloc_checked
    COMMAND /bin/sh ${checked_dir}/run_placement.sh ${checked_library} $<TARGET_FILE:checked_heap>)

# While the kernel refuses. See faults_sweep for the filter.
add_executable(checked_refused checked/checked_refused.c support/fault.c)
target_include_directories(checked_refused PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}
    ${PROJECT_SOURCE_DIR}/include)
target_compile_options(checked_refused PRIVATE -fno-builtin)
target_link_libraries(checked_refused PRIVATE ${CMAKE_DL_LIBS} hostheap_flags)
foreach(part rest heap_end give_way)
    hh_checked_test(refused_${part} checked_refused ${part})
endforeach()
hh_test_properties(checked.refused_rest TIMEOUT 120
    ENV "HOSTHEAP_OPTIONS=background:off,quarantine:0,sample:1000000000")
hh_test_properties(checked.refused_heap_end TIMEOUT 120
    ENV "HOSTHEAP_OPTIONS=background:off,sample:1000000000")
hh_test_properties(checked.refused_give_way TIMEOUT 120
    ENV "HOSTHEAP_OPTIONS=background:off,quarantine:1g,hard_limit:32m,sample:1000000000")
add_executable(checked_no_proc checked/checked_no_proc.c)
target_include_directories(checked_no_proc PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}
    ${PROJECT_SOURCE_DIR}/include)
target_compile_options(checked_no_proc PRIVATE -fno-builtin)
target_link_libraries(checked_no_proc PRIVATE ${CMAKE_DL_LIBS} hostheap_flags)
hh_checked_test(no_proc checked_no_proc)
add_test(NAME checked.faults_sweep COMMAND ${CMAKE_COMMAND} -E env LD_PRELOAD=${checked_library}
    $<TARGET_FILE:faults_faults_sweep>)
hh_test_properties(checked.faults_sweep TIMEOUT 200
    ENV "HOSTHEAP_OPTIONS=background:off" "HOSTHEAP_SWEEP_CALLS=any")

# What holds of the drop-in holds here. Left out: what takes all memory there is in small blocks
# (preload_exhaust), what relies on an address being used again at once, or on where a block lies.
foreach(program family early fork)
    hh_checked_test(preload_${program} preload_preload_${program})
endforeach()
hh_checked_test(preload_late preload_preload_late)
hh_test_properties(checked.preload_late TIMEOUT 120 ENV "HOSTHEAP_OPTIONS=hard_limit:1g")
hh_checked_test(preload_plugin preload_preload_plugin $<TARGET_FILE:preload_plugin_library>)
foreach(test native_test_native_api contract_test_alloc contract_test_create_malloc
        contract_test_critical_levels contract_test_unknown)
    hh_checked_test(${test} ${test})
endforeach()
# Without quarantine an ended block's address is free at once, as these tests want it.
hh_checked_test(debug_alloc contract_test_debug_alloc)
hh_test_properties(checked.debug_alloc TIMEOUT 120
    ENV "HOSTHEAP_OPTIONS=quarantine:0,sample:1000000000")
# Programs that do nothing wrong, at least nothing known.
hh_command_test(checked.programs NEEDS hostheap_malloc_checked TIMEOUT 300
    COMMAND /usr/bin/python3 ${checked_dir}/run_programs.py ${checked_library})

# The product.
hh_command_test(install.exports_checked NEEDS hostheap_malloc_checked
    COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/install/check_exports.py ${checked_library}
            ${CMAKE_CURRENT_SOURCE_DIR}/install/hostheap-malloc.exports
            ${PROJECT_SOURCE_DIR}/include)
hh_command_test(preload.elf_checked NEEDS hostheap_malloc_checked
    COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/preload/check_elf.py ${checked_library})
