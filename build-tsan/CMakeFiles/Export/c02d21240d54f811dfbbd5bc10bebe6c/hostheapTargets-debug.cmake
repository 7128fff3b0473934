#----------------------------------------------------------------
# Generated CMake target import file for configuration "Debug".
#----------------------------------------------------------------

# Commands may need to know the format version.
set(CMAKE_IMPORT_FILE_VERSION 1)

# Import target "hostheap::hostheap" for configuration "Debug"
set_property(TARGET hostheap::hostheap APPEND PROPERTY IMPORTED_CONFIGURATIONS DEBUG)
set_target_properties(hostheap::hostheap PROPERTIES
  IMPORTED_LOCATION_DEBUG "${_IMPORT_PREFIX}/lib/libhostheap.so.0.1.0"
  IMPORTED_SONAME_DEBUG "libhostheap.so.1"
  )

list(APPEND _cmake_import_check_targets hostheap::hostheap )
list(APPEND _cmake_import_check_files_for_hostheap::hostheap "${_IMPORT_PREFIX}/lib/libhostheap.so.0.1.0" )

# Import target "hostheap::static" for configuration "Debug"
set_property(TARGET hostheap::static APPEND PROPERTY IMPORTED_CONFIGURATIONS DEBUG)
set_target_properties(hostheap::static PROPERTIES
  IMPORTED_LINK_INTERFACE_LANGUAGES_DEBUG "C"
  IMPORTED_LOCATION_DEBUG "${_IMPORT_PREFIX}/lib/libhostheap.a"
  )

list(APPEND _cmake_import_check_targets hostheap::static )
list(APPEND _cmake_import_check_files_for_hostheap::static "${_IMPORT_PREFIX}/lib/libhostheap.a" )

# Commands beyond this point should not need to know the version.
set(CMAKE_IMPORT_FILE_VERSION)
