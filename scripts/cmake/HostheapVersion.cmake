# SPDX-License-Identifier: MIT
# The version has one home, the public header. Sets HOSTHEAP_VERSION.
set(header ${CMAKE_CURRENT_LIST_DIR}/../../include/hostheap/hostheap.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${header})
set(HOSTHEAP_VERSION "")
foreach(part IN ITEMS MAJOR MINOR PATCH)
    file(STRINGS ${header} line REGEX "^#define HOSTHEAP_VERSION_${part} [0-9]+$")
    if(NOT line MATCHES "([0-9]+)$")
        message(FATAL_ERROR "HOSTHEAP_VERSION_${part} not found in ${header}")
    endif()
    list(APPEND HOSTHEAP_VERSION ${CMAKE_MATCH_1})
endforeach()
list(JOIN HOSTHEAP_VERSION "." HOSTHEAP_VERSION)
