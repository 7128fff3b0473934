# SPDX-License-Identifier: MIT
#
# hh_test(path.c [more.c] [PLAIN] [ARGS a...] [ENV A=b...] [TIMEOUT s] [LIBS l...] [SERIAL])
#     A test program. unit/ and stress/ link the static library and see src/; every other folder links the
#     shared library and sees the public headers only. Uses cmocka unless PLAIN.
# hh_preload_test(path.c ...the same arguments)
#     A plain program run with the drop-in in LD_PRELOAD; left out where the drop-in is not built.
# hh_command_test(name COMMAND c... [NEEDS target...] [ENV] [TIMEOUT] [SERIAL])
#     Any command. ${...} of this scope and generator expressions work in it.
#
# Exit code 77 means skipped. SERIAL tests run alone.
# pkg-config is not asked for: cmocka has one header and one library.
find_library(CMOCKA_LIBRARY cmocka REQUIRED)

set(HH_TEST_ENV
    # die_after_fork: the heap's helper thread starts anew in a child, which is what is tested.
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:die_after_fork=0"
    "ASAN_OPTIONS=abort_on_error=0:detect_stack_use_after_return=0"
    "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1")

function(hh_test_properties name)
    cmake_parse_arguments(T "SERIAL" "TIMEOUT" "ENV" ${ARGN})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77
        ENVIRONMENT "${HH_TEST_ENV};${T_ENV}")
    if(T_TIMEOUT)
        set_tests_properties(${name} PROPERTIES TIMEOUT ${T_TIMEOUT})
    endif()
    if(T_SERIAL)
        set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
    endif()
endfunction()

# Sets name and target for the first source.
macro(hh_test_names first)
    cmake_path(GET first PARENT_PATH folder)
    cmake_path(GET first STEM stem)
    string(REPLACE "/" "." name "${folder}.${stem}")
    string(REPLACE "." "_" target ${name})
endmacro()

function(hh_test first)
    cmake_parse_arguments(T "PLAIN;SERIAL" "TIMEOUT" "ARGS;ENV;LIBS" ${ARGN})
    hh_test_names(${first})
    add_executable(${target} ${first} ${T_UNPARSED_ARGUMENTS})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    if(folder MATCHES "^(unit|stress)")
        target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
        target_link_libraries(${target} PRIVATE hostheap_static)
    else()
        target_link_libraries(${target} PRIVATE hostheap)
    endif()
    if(NOT T_PLAIN)
        if(support_sources)
            target_sources(${target} PRIVATE ${support_sources})
            target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
        endif()
        target_link_libraries(${target} PRIVATE ${CMOCKA_LIBRARY})
    endif()
    target_link_libraries(${target} PRIVATE ${T_LIBS} hostheap_flags)
    add_test(NAME ${name} COMMAND ${target} ${T_ARGS})
    hh_test_properties(${name} ${ARGN})
endfunction()

function(hh_preload_test first)
    if(NOT HOSTHEAP_DROPIN)
        return()
    endif()
    cmake_parse_arguments(T "PLAIN;SERIAL" "TIMEOUT" "ARGS;ENV;LIBS" ${ARGN})
    hh_test_names(${first})
    add_executable(${target} ${first} ${T_UNPARSED_ARGUMENTS})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests
        ${PROJECT_SOURCE_DIR}/include)
    # A test of malloc must not have its malloc calls folded away.
    target_compile_options(${target} PRIVATE -fno-builtin)
    target_link_libraries(${target} PRIVATE ${T_LIBS} ${CMAKE_DL_LIBS} hostheap_flags)
    add_dependencies(${target} hostheap_malloc)
    add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -E env
        LD_PRELOAD=$<TARGET_FILE:hostheap_malloc> $<TARGET_FILE:${target}> ${T_ARGS})
    hh_test_properties(${name} ${ARGN})
endfunction()

function(hh_command_test name)
    cmake_parse_arguments(T "SERIAL" "TIMEOUT" "COMMAND;ENV;NEEDS" ${ARGN})
    foreach(needed IN LISTS T_NEEDS)
        if(NOT TARGET ${needed})
            return()
        endif()
    endforeach()
    add_test(NAME ${name} COMMAND ${T_COMMAND})
    hh_test_properties(${name} ${ARGN})
endfunction()
