file(REMOVE_RECURSE
  "CMakeFiles/hostheap_core.dir/src/diag/diag.c.o"
  "CMakeFiles/hostheap_core.dir/src/diag/diag.c.o.d"
  "CMakeFiles/hostheap_core.dir/src/heap/limit.c.o"
  "CMakeFiles/hostheap_core.dir/src/heap/limit.c.o.d"
  "CMakeFiles/hostheap_core.dir/src/meta/meta_arena.c.o"
  "CMakeFiles/hostheap_core.dir/src/meta/meta_arena.c.o.d"
  "CMakeFiles/hostheap_core.dir/src/options/options.c.o"
  "CMakeFiles/hostheap_core.dir/src/options/options.c.o.d"
  "CMakeFiles/hostheap_core.dir/src/options/options_env.c.o"
  "CMakeFiles/hostheap_core.dir/src/options/options_env.c.o.d"
  "CMakeFiles/hostheap_core.dir/src/os/hidden_thread.c.o"
  "CMakeFiles/hostheap_core.dir/src/os/hidden_thread.c.o.d"
  "CMakeFiles/hostheap_core.dir/src/os/lock.c.o"
  "CMakeFiles/hostheap_core.dir/src/os/lock.c.o.d"
  "CMakeFiles/hostheap_core.dir/src/os/os_linux.c.o"
  "CMakeFiles/hostheap_core.dir/src/os/os_linux.c.o.d"
  "CMakeFiles/hostheap_core.dir/src/process/version.c.o"
  "CMakeFiles/hostheap_core.dir/src/process/version.c.o.d"
  "CMakeFiles/hostheap_core.dir/src/rcu/rcu.c.o"
  "CMakeFiles/hostheap_core.dir/src/rcu/rcu.c.o.d"
  "CMakeFiles/hostheap_core.dir/src/region/region_map.c.o"
  "CMakeFiles/hostheap_core.dir/src/region/region_map.c.o.d"
)

# Per-language clean rules from dependency scanning.
foreach(lang C)
  include(CMakeFiles/hostheap_core.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
