file(REMOVE_RECURSE
  "CMakeFiles/unit_test_rcu.dir/unit/test_rcu.c.o"
  "CMakeFiles/unit_test_rcu.dir/unit/test_rcu.c.o.d"
  "unit_test_rcu"
  "unit_test_rcu.pdb"
)

# Per-language clean rules from dependency scanning.
foreach(lang C)
  include(CMakeFiles/unit_test_rcu.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
