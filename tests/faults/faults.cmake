# SPDX-License-Identifier: MIT
# The kernel refuses: tests/faults/README.md. Included by tests/CMakeLists.txt, not under sanitizers, which
# make such calls themselves.

# Each memory call of the library fails once, and from there on. The long form, on a tree with the drop-in:
# scripts/long faults.
hh_preload_test(faults/faults_sweep.c support/fault.c support/settle.c TIMEOUT 120
    ENV "HOSTHEAP_OPTIONS=background:off")
if(HOSTHEAP_DROPIN)
    # Small regions, and memory given back at once: other calls, and more of them.
    add_test(NAME faults.faults_sweep_eager COMMAND ${CMAKE_COMMAND} -E env
        LD_PRELOAD=$<TARGET_FILE:hostheap_malloc> $<TARGET_FILE:faults_faults_sweep>
        mixed large heaps remote threads trim host_heaps)
    hh_test_properties(faults.faults_sweep_eager TIMEOUT 120
        ENV "HOSTHEAP_OPTIONS=background:off,decay_ms:0,region:1m")
endif()

# The same from a process's first instruction on: hh_start_test(name library PRELOAD|LINKED program [args...])
add_executable(faults_start faults/faults_start.c)
target_include_directories(faults_start PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(faults_start PRIVATE hostheap_flags)

function(hh_start_test name library how program)
    add_test(NAME faults.start_${name} COMMAND faults_start $<TARGET_FILE:${library}> ${how}
        $<TARGET_FILE:${program}> ${ARGN})
    hh_test_properties(faults.start_${name} TIMEOUT 240)
endfunction()

function(hh_start_program name source)
    add_executable(${name} ${source} ${ARGN})
    target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}
        ${PROJECT_SOURCE_DIR}/include)
    target_compile_options(${name} PRIVATE -fno-builtin)
    target_link_libraries(${name} PRIVATE ${CMAKE_DL_LIBS} hostheap_flags)
endfunction()

if(src/host/host_memory_manager.c IN_LIST host_sources)
    hh_start_program(faults_start_host faults/start_host.c)
    target_link_libraries(faults_start_host PRIVATE hostheap)
    hh_start_test(native hostheap LINKED faults_start_host native)
    hh_start_test(manager hostheap LINKED faults_start_host manager)
    # Its threads are counted: without the sweeper, which is none of the manager's.
    hh_test_properties(faults.start_manager TIMEOUT 240 ENV "HOSTHEAP_OPTIONS=background:off")
endif()

# liburcu must not be asked for what it ends the process without.
function(hh_reclaimer_test name library)
    hh_start_program(faults_${name} faults/faults_reclaimer.c support/settle.c)
    target_link_libraries(faults_${name} PRIVATE ${library})
    add_test(NAME faults.${name} COMMAND faults_${name})
    hh_test_properties(faults.${name} TIMEOUT 240)
endfunction()

if(src/host/host_memory_manager.c IN_LIST host_sources)
    hh_reclaimer_test(reclaimer hostheap)
    if(HOSTHEAP_DROPIN)
        hh_reclaimer_test(reclaimer_dropin hostheap_malloc)
        add_test(NAME faults.reclaimer_no_keys COMMAND faults_reclaimer_dropin nokeys)
        hh_test_properties(faults.reclaimer_no_keys TIMEOUT 240)
    endif()
endif()

if(HOSTHEAP_DROPIN)
    hh_start_program(faults_start_plain faults/start_plain.c)
    add_dependencies(faults_start_plain hostheap_malloc hostheap_malloc_checked)
    hh_start_test(plain hostheap_malloc PRELOAD faults_start_plain)
    hh_start_test(plain_checked hostheap_malloc_checked PRELOAD faults_start_plain)
    # Its functions are found in the drop-in first.
    if(TARGET faults_start_host)
        hh_start_test(native_checked hostheap_malloc_checked PRELOAD faults_start_host native)
        hh_start_test(manager_dropin hostheap_malloc PRELOAD faults_start_host manager)
        hh_test_properties(faults.start_manager_dropin TIMEOUT 240
            ENV "HOSTHEAP_OPTIONS=background:off")
    endif()
    if(CMAKE_CXX_COMPILER)
        hh_start_program(faults_start_cxx faults/start_cxx.cc)
        set_target_properties(faults_start_cxx PROPERTIES CXX_STANDARD 17)
        hh_start_test(cxx hostheap_malloc PRELOAD faults_start_cxx)
    endif()
endif()
