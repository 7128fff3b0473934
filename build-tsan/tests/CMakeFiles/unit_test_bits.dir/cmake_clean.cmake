file(REMOVE_RECURSE
  "CMakeFiles/unit_test_bits.dir/unit/test_bits.c.o"
  "CMakeFiles/unit_test_bits.dir/unit/test_bits.c.o.d"
  "unit_test_bits"
  "unit_test_bits.pdb"
)

# Per-language clean rules from dependency scanning.
foreach(lang C)
  include(CMakeFiles/unit_test_bits.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
