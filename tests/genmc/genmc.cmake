# SPDX-License-Identifier: MIT
# Per line of runs.txt: proofs.NAME, the program as an ordinary one; and, in one tree, genmc.NAME and
# genmc.NAME.FAULT, the searches, skipped where GenMC is not installed.
file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/genmc/runs.txt proof_runs REGEX "^[a-z]")
# A tree that is configured already takes notice of other runs.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/genmc/runs.txt)
foreach(line IN LISTS proof_runs)
    string(REGEX MATCH "^([^:]*):?(.*)$" line "${line}")
    separate_arguments(what UNIX_COMMAND "${CMAKE_MATCH_1}")
    separate_arguments(faults UNIX_COMMAND "${CMAKE_MATCH_2}")
    list(POP_FRONT what proof program)
    add_executable(proofs_${proof} genmc/${program})
    target_compile_options(proofs_${proof} PRIVATE ${what} -fno-strict-aliasing)
    target_include_directories(proofs_${proof} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/genmc
        ${CMAKE_CURRENT_SOURCE_DIR}/genmc/fake ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
    # What a program does not need, but its source files name.
    target_link_libraries(proofs_${proof} PRIVATE hostheap_static hostheap_flags)
    add_test(NAME proofs.${proof} COMMAND proofs_${proof})
    hh_test_properties(proofs.${proof} TIMEOUT 60)
    if(CMAKE_BUILD_TYPE STREQUAL "Debug" AND NOT HOSTHEAP_SANITIZE)
        set(run python3 ${CMAKE_CURRENT_SOURCE_DIR}/genmc/run_genmc.py ${proof})
        hh_command_test(genmc.${proof} COMMAND ${run} TIMEOUT 620)
        foreach(fault IN LISTS faults)
            hh_command_test(genmc.${proof}.${fault} COMMAND ${run} ${fault} TIMEOUT 620)
        endforeach()
    endif()
endforeach()
