file(REMOVE_RECURSE
  "CMakeFiles/unit_test_version.dir/unit/test_version.c.o"
  "CMakeFiles/unit_test_version.dir/unit/test_version.c.o.d"
  "unit_test_version"
  "unit_test_version.pdb"
)

# Per-language clean rules from dependency scanning.
foreach(lang C)
  include(CMakeFiles/unit_test_version.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
