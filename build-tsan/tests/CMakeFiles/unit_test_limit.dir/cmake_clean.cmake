file(REMOVE_RECURSE
  "CMakeFiles/unit_test_limit.dir/unit/test_limit.c.o"
  "CMakeFiles/unit_test_limit.dir/unit/test_limit.c.o.d"
  "unit_test_limit"
  "unit_test_limit.pdb"
)

# Per-language clean rules from dependency scanning.
foreach(lang C)
  include(CMakeFiles/unit_test_limit.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
