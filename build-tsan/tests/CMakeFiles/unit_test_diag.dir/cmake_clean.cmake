file(REMOVE_RECURSE
  "CMakeFiles/unit_test_diag.dir/unit/test_diag.c.o"
  "CMakeFiles/unit_test_diag.dir/unit/test_diag.c.o.d"
  "unit_test_diag"
  "unit_test_diag.pdb"
)

# Per-language clean rules from dependency scanning.
foreach(lang C)
  include(CMakeFiles/unit_test_diag.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
