# SPDX-License-Identifier: MIT
# Targets:
#   hostheap::hostheap       the interfaces, shared
#   hostheap::static         the interfaces, static
#   hostheap::malloc         the drop-in, shared: the program's malloc is hostheap
#   hostheap::malloc_object  the drop-in as one object, linked into the program

####### Expanded from @PACKAGE_INIT@ by configure_package_config_file() #######
####### Any changes to this file will be overwritten by the next CMake run ####
####### The input file was hostheapConfig.cmake.in                            ########

get_filename_component(PACKAGE_PREFIX_DIR "${CMAKE_CURRENT_LIST_DIR}/../../../" ABSOLUTE)

macro(set_and_check _var _file)
  set(${_var} "${_file}")
  if(NOT EXISTS "${_file}")
    message(FATAL_ERROR "File or directory ${_file} referenced by variable ${_var} does not exist !")
  endif()
endmacro()

macro(check_required_components _NAME)
  foreach(comp ${${_NAME}_FIND_COMPONENTS})
    if(NOT ${_NAME}_${comp}_FOUND)
      if(${_NAME}_FIND_REQUIRED_${comp})
        set(${_NAME}_FOUND FALSE)
      endif()
    endif()
  endforeach()
endmacro()

####################################################################################
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include(${CMAKE_CURRENT_LIST_DIR}/hostheapTargets.cmake)

set(hostheap_malloc_object ${PACKAGE_PREFIX_DIR}/lib/hostheap-malloc.o)
if(EXISTS ${hostheap_malloc_object} AND NOT TARGET hostheap::malloc_object)
    add_library(hostheap::malloc_object INTERFACE IMPORTED)
    target_link_libraries(hostheap::malloc_object INTERFACE
        ${hostheap_malloc_object} Threads::Threads urcu-bp)
    target_include_directories(hostheap::malloc_object INTERFACE
        $<TARGET_PROPERTY:hostheap::static,INTERFACE_INCLUDE_DIRECTORIES>)
endif()
check_required_components(hostheap)
