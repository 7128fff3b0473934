# SPDX-License-Identifier: MIT
# Compiler and linker flags. hostheap_flags carries what all our code is compiled with, tests and
# benchmarks too; hostheap_code adds what only the library's own objects get.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, RelWithDebInfo" FORCE)
endif()
# Debug is what the tests run: assertions on, optimised all the same, since the heap's races and
# its fast paths only show then.
set(CMAKE_C_FLAGS_DEBUG "-O2 -g")
set(CMAKE_CXX_FLAGS_DEBUG "-O2 -g")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

add_library(hostheap_flags INTERFACE)
target_compile_features(hostheap_flags INTERFACE c_std_11)
target_compile_definitions(hostheap_flags INTERFACE _GNU_SOURCE)
target_compile_options(hostheap_flags INTERFACE
    -Wall -Wextra -Wshadow -Wundef -Wcast-align
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>
    -fno-common)
target_link_libraries(hostheap_flags INTERFACE Threads::Threads)
if(HOSTHEAP_SANITIZE)
    target_compile_options(hostheap_flags INTERFACE
        -fsanitize=${HOSTHEAP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(hostheap_flags INTERFACE -fsanitize=${HOSTHEAP_SANITIZE})
endif()
if(HOSTHEAP_COVERAGE)
    # Counted by gcc; support/coverage.c keeps the counts of processes that do not end by exit(): an
    # object file in every program and library, not an archive, whose wrappers would be taken from
    # another part of the process. gcc's own fork forgets what the handlers of fork counted in the
    # child.
    target_compile_options(hostheap_flags INTERFACE --coverage -fprofile-update=atomic
        -fprofile-abs-path -fno-builtin-fork)
    target_compile_definitions(hostheap_flags INTERFACE HH_COVERAGE)
    add_library(hostheap_coverage OBJECT ${PROJECT_SOURCE_DIR}/tests/support/coverage.c)
    target_compile_definitions(hostheap_coverage PRIVATE _GNU_SOURCE)
    set_target_properties(hostheap_coverage PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_link_libraries(hostheap_flags INTERFACE $<TARGET_OBJECTS:hostheap_coverage>)
    target_link_options(hostheap_flags INTERFACE --coverage -Wl,--exclude-libs,libgcov.a
        -Wl,--wrap=_exit,--wrap=hhi_os_abort,--wrap=sigaction)
    set(CMAKE_ENABLE_EXPORTS ON)
endif()

add_library(hostheap_code INTERFACE)
target_link_libraries(hostheap_code INTERFACE hostheap_flags)
target_compile_options(hostheap_code INTERFACE
    -Wconversion -Wsign-conversion -Wformat=2 -Wpointer-arith -Wvla -Wwrite-strings
    -fvisibility=hidden -fno-plt -fno-semantic-interposition -ftls-model=initial-exec
    -fno-strict-aliasing)
