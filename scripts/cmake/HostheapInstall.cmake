# SPDX-License-Identifier: MIT
# cmake --install: libraries, headers, find_package(hostheap), pkg-config.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(products hostheap hostheap_static)
set(modules hostheap)
if(HOSTHEAP_DROPIN)
    list(APPEND products hostheap_malloc hostheap_malloc_checked)
    list(APPEND modules hostheap-malloc hostheap-malloc-checked)
    install(FILES ${HOSTHEAP_MALLOC_OBJECT} DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(PROGRAMS ${PROJECT_SOURCE_DIR}/scripts/hostheap-run
            DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

install(TARGETS ${products} EXPORT hostheapTargets)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/hostheap DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hostheap)
install(EXPORT hostheapTargets NAMESPACE hostheap:: DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/hostheapConfig.cmake.in
    ${PROJECT_BINARY_DIR}/hostheapConfig.cmake INSTALL_DESTINATION ${package_dir}
    PATH_VARS CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/hostheapConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/hostheapConfig.cmake
    ${PROJECT_BINARY_DIR}/hostheapConfigVersion.cmake DESTINATION ${package_dir})

# Relative to the .pc file, so that an installed tree may be moved.
file(RELATIVE_PATH HOSTHEAP_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" HOSTHEAP_PC_TO_PREFIX "${HOSTHEAP_PC_TO_PREFIX}")
set(HOSTHEAP_PC_LIBRARIES "-pthread")
foreach(library IN LISTS HOSTHEAP_LIBRARIES)
    string(APPEND HOSTHEAP_PC_LIBRARIES " -l${library}")
endforeach()
foreach(module IN LISTS modules)
    configure_file(${CMAKE_CURRENT_LIST_DIR}/${module}.pc.in ${PROJECT_BINARY_DIR}/${module}.pc
        @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/${module}.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
