# SPDX-License-Identifier: MIT
# The products:
#   libhostheap.so          the interfaces; does not replace malloc
#   libhostheap.a           the same, static
#   libhostheap-malloc.so   the drop-in: the interfaces and the malloc family
#   hostheap-malloc.o       the drop-in as one object, for programs linked with it
#   libhostheap-malloc-checked.so   the drop-in that looks for misuse: canaries, quarantine, stacks
# and for the sanitizers' tests alone:
#   checked/libhostheap.so  the interfaces on the checked library's files
set(core_sources ${base_sources} ${os_sources} ${diag_sources} ${options_sources} ${meta_sources}
    ${rcu_sources} ${region_sources} ${slab_sources} ${heap_sources} ${process_sources}
    ${host_sources})

function(hostheap_objects name)
    add_library(${name} OBJECT ${ARGN})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src
        ${PROJECT_SOURCE_DIR}/include)
    target_link_libraries(${name} PRIVATE hostheap_code)
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

function(hostheap_product target output)
    set_target_properties(${target} PROPERTIES OUTPUT_NAME ${output} EXPORT_NAME ${ARGV2})
    add_library(hostheap::${ARGV2} ALIAS ${target})
    target_include_directories(${target} INTERFACE
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
endfunction()

function(hostheap_shared target output export map)
    add_library(${target} SHARED ${ARGN})
    hostheap_product(${target} ${output} ${export})
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:hostheap_flags>)
    # nodelete: threads keep pointers to our exit handlers, so dlclose must not unmap the code.
    target_link_options(${target} PRIVATE -Wl,-z,nodelete -Wl,-z,now -Wl,-z,relro -Wl,--as-needed
        -Wl,--version-script=${map})
    if(NOT HOSTHEAP_SANITIZE)
        target_link_options(${target} PRIVATE -Wl,-z,defs)
    endif()
    set_target_properties(${target} PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 1
        LINK_DEPENDS ${map} LINKER_LANGUAGE C)
endfunction()

# What all products share, and what the checked drop-in has its own files for.
list(REMOVE_ITEM core_sources ${unchecked_sources})
hostheap_objects(hostheap_core ${core_sources})
hostheap_objects(hostheap_unchecked ${unchecked_sources})
hostheap_objects(hostheap_checked ${checked_sources})
hostheap_objects(hostheap_rcu_linked ${rcu_linked_sources})
set(core_objects $<TARGET_OBJECTS:hostheap_core> $<TARGET_OBJECTS:hostheap_unchecked>)
set(linked_objects ${core_objects} $<TARGET_OBJECTS:hostheap_rcu_linked>)
hostheap_shared(hostheap hostheap hostheap ${PROJECT_SOURCE_DIR}/src/process/hostheap.map
    ${linked_objects})
target_link_libraries(hostheap PRIVATE ${HOSTHEAP_LIBRARIES})

add_library(hostheap_static STATIC ${linked_objects})
hostheap_product(hostheap_static hostheap static)
target_link_libraries(hostheap_static PUBLIC Threads::Threads ${HOSTHEAP_LIBRARIES}
    PRIVATE $<BUILD_INTERFACE:hostheap_flags>)
set_target_properties(hostheap_static PROPERTIES LINKER_LANGUAGE C)

# Sanitizers bring a malloc of their own, so the drop-in is left out with them. The files of the
# checked drop-in are tested behind the interfaces instead.
if(HOSTHEAP_SANITIZE)
    hostheap_shared(hostheap_native_checked hostheap native_checked
        ${PROJECT_SOURCE_DIR}/src/process/hostheap.map
        $<TARGET_OBJECTS:hostheap_core> $<TARGET_OBJECTS:hostheap_rcu_linked>
        $<TARGET_OBJECTS:hostheap_checked>)
    target_link_libraries(hostheap_native_checked PRIVATE ${HOSTHEAP_LIBRARIES})
    set_target_properties(hostheap_native_checked PROPERTIES
        LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/checked)
endif()

set(HOSTHEAP_DROPIN OFF)
if(override_sources AND NOT HOSTHEAP_SANITIZE)
    set(HOSTHEAP_DROPIN ON)
    hostheap_objects(hostheap_override ${override_sources})
    # The compiler must not know what malloc means in the files that define it.
    target_compile_options(hostheap_override PRIVATE -fno-builtin)

    # Preloaded, it loads liburcu when a host needs it (docs/adr/0025).
    hostheap_objects(hostheap_rcu_loaded ${rcu_loaded_sources})
    hostheap_shared(hostheap_malloc hostheap-malloc malloc
        ${PROJECT_SOURCE_DIR}/src/override/hostheap-malloc.map
        ${core_objects} $<TARGET_OBJECTS:hostheap_rcu_loaded> $<TARGET_OBJECTS:hostheap_override>)
    target_link_libraries(hostheap_malloc PRIVATE ${CMAKE_DL_LIBS})

    # The same with other files for allocation and free.
    hostheap_objects(hostheap_override_checked ${override_sources})
    target_compile_options(hostheap_override_checked PRIVATE -fno-builtin)
    target_compile_definitions(hostheap_override_checked PRIVATE HHI_FRONT_CHECKED)
    hostheap_shared(hostheap_malloc_checked hostheap-malloc-checked malloc_checked
        ${PROJECT_SOURCE_DIR}/src/override/hostheap-malloc.map
        $<TARGET_OBJECTS:hostheap_core> $<TARGET_OBJECTS:hostheap_rcu_loaded>
        $<TARGET_OBJECTS:hostheap_checked> $<TARGET_OBJECTS:hostheap_override_checked>)
    target_link_libraries(hostheap_malloc_checked PRIVATE ${CMAKE_DL_LIBS})

    set(dropin_objects ${linked_objects} $<TARGET_OBJECTS:hostheap_override>)
    set(HOSTHEAP_MALLOC_OBJECT ${PROJECT_BINARY_DIR}/hostheap-malloc.o)
    add_custom_command(OUTPUT ${HOSTHEAP_MALLOC_OBJECT}
        COMMAND ${CMAKE_LINKER} -r -o ${HOSTHEAP_MALLOC_OBJECT}.all ${dropin_objects}
        COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${HOSTHEAP_MALLOC_OBJECT}.all
                ${HOSTHEAP_MALLOC_OBJECT}
        DEPENDS ${dropin_objects} COMMAND_EXPAND_LISTS VERBATIM)
    add_custom_target(hostheap_malloc_object ALL DEPENDS ${HOSTHEAP_MALLOC_OBJECT})
    # The objects are files of other targets: they must be there before this one looks at them.
    add_dependencies(hostheap_malloc_object hostheap_core hostheap_unchecked hostheap_rcu_linked
        hostheap_override)
endif()
