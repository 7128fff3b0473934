
# Consider dependencies only in project.
set(CMAKE_DEPENDS_IN_PROJECT_ONLY OFF)

# The set of languages for which implicit dependencies are needed:
set(CMAKE_DEPENDS_LANGUAGES
  )

# The set of dependency files which are needed:
set(CMAKE_DEPENDS_DEPENDENCY_FILES
  "/work/wt/vm/src/diag/diag.c" "CMakeFiles/hostheap_core.dir/src/diag/diag.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/diag/diag.c.o.d"
  "/work/wt/vm/src/heap/limit.c" "CMakeFiles/hostheap_core.dir/src/heap/limit.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/heap/limit.c.o.d"
  "/work/wt/vm/src/meta/meta_arena.c" "CMakeFiles/hostheap_core.dir/src/meta/meta_arena.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/meta/meta_arena.c.o.d"
  "/work/wt/vm/src/options/options.c" "CMakeFiles/hostheap_core.dir/src/options/options.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/options/options.c.o.d"
  "/work/wt/vm/src/options/options_env.c" "CMakeFiles/hostheap_core.dir/src/options/options_env.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/options/options_env.c.o.d"
  "/work/wt/vm/src/os/hidden_thread.c" "CMakeFiles/hostheap_core.dir/src/os/hidden_thread.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/os/hidden_thread.c.o.d"
  "/work/wt/vm/src/os/lock.c" "CMakeFiles/hostheap_core.dir/src/os/lock.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/os/lock.c.o.d"
  "/work/wt/vm/src/os/os_linux.c" "CMakeFiles/hostheap_core.dir/src/os/os_linux.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/os/os_linux.c.o.d"
  "/work/wt/vm/src/process/version.c" "CMakeFiles/hostheap_core.dir/src/process/version.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/process/version.c.o.d"
  "/work/wt/vm/src/rcu/rcu.c" "CMakeFiles/hostheap_core.dir/src/rcu/rcu.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/rcu/rcu.c.o.d"
  "/work/wt/vm/src/region/region_map.c" "CMakeFiles/hostheap_core.dir/src/region/region_map.c.o" "gcc" "CMakeFiles/hostheap_core.dir/src/region/region_map.c.o.d"
  )

# Targets to which this target links.
set(CMAKE_TARGET_LINKED_INFO_FILES
  )

# Fortran module output directory.
set(CMAKE_Fortran_TARGET_MODULE_DIR "")
