file(REMOVE_RECURSE
  "CMakeFiles/unit_test_region_map.dir/unit/test_region_map.c.o"
  "CMakeFiles/unit_test_region_map.dir/unit/test_region_map.c.o.d"
  "unit_test_region_map"
  "unit_test_region_map.pdb"
)

# Per-language clean rules from dependency scanning.
foreach(lang C)
  include(CMakeFiles/unit_test_region_map.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
