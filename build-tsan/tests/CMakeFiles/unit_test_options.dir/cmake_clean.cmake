file(REMOVE_RECURSE
  "CMakeFiles/unit_test_options.dir/unit/test_options.c.o"
  "CMakeFiles/unit_test_options.dir/unit/test_options.c.o.d"
  "unit_test_options"
  "unit_test_options.pdb"
)

# Per-language clean rules from dependency scanning.
foreach(lang C)
  include(CMakeFiles/unit_test_options.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
