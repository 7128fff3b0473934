# CMake generated Testfile for 
# Source directory: /work/wt/vm/tests
# Build directory: /work/wt/vm/build-tsan/tests
# 
# This file includes the relevant testing commands required for 
# testing this directory and lists subdirectories to be tested as well.
add_test([=[unit.test_version]=] "/work/wt/vm/build-tsan/tests/unit_test_version")
set_tests_properties([=[unit.test_version]=] PROPERTIES  ENVIRONMENT "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1;ASAN_OPTIONS=abort_on_error=0:detect_stack_use_after_return=0;UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1;" SKIP_RETURN_CODE "77" _BACKTRACE_TRIPLES "/work/wt/vm/scripts/cmake/HostheapTest.cmake;59;add_test;/work/wt/vm/tests/CMakeLists.txt;8;hh_test;/work/wt/vm/tests/CMakeLists.txt;0;")
add_test([=[unit.test_bits]=] "/work/wt/vm/build-tsan/tests/unit_test_bits")
set_tests_properties([=[unit.test_bits]=] PROPERTIES  ENVIRONMENT "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1;ASAN_OPTIONS=abort_on_error=0:detect_stack_use_after_return=0;UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1;" SKIP_RETURN_CODE "77" _BACKTRACE_TRIPLES "/work/wt/vm/scripts/cmake/HostheapTest.cmake;59;add_test;/work/wt/vm/tests/CMakeLists.txt;9;hh_test;/work/wt/vm/tests/CMakeLists.txt;0;")
add_test([=[unit.test_limit]=] "/work/wt/vm/build-tsan/tests/unit_test_limit")
set_tests_properties([=[unit.test_limit]=] PROPERTIES  ENVIRONMENT "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1;ASAN_OPTIONS=abort_on_error=0:detect_stack_use_after_return=0;UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1;" SKIP_RETURN_CODE "77" _BACKTRACE_TRIPLES "/work/wt/vm/scripts/cmake/HostheapTest.cmake;59;add_test;/work/wt/vm/tests/CMakeLists.txt;10;hh_test;/work/wt/vm/tests/CMakeLists.txt;0;")
add_test([=[unit.test_diag]=] "/work/wt/vm/build-tsan/tests/unit_test_diag")
set_tests_properties([=[unit.test_diag]=] PROPERTIES  ENVIRONMENT "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1;ASAN_OPTIONS=abort_on_error=0:detect_stack_use_after_return=0;UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1;" SKIP_RETURN_CODE "77" _BACKTRACE_TRIPLES "/work/wt/vm/scripts/cmake/HostheapTest.cmake;59;add_test;/work/wt/vm/tests/CMakeLists.txt;11;hh_test;/work/wt/vm/tests/CMakeLists.txt;0;")
add_test([=[unit.test_options]=] "/work/wt/vm/build-tsan/tests/unit_test_options")
set_tests_properties([=[unit.test_options]=] PROPERTIES  ENVIRONMENT "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1;ASAN_OPTIONS=abort_on_error=0:detect_stack_use_after_return=0;UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1;" SKIP_RETURN_CODE "77" _BACKTRACE_TRIPLES "/work/wt/vm/scripts/cmake/HostheapTest.cmake;59;add_test;/work/wt/vm/tests/CMakeLists.txt;12;hh_test;/work/wt/vm/tests/CMakeLists.txt;0;")
add_test([=[unit.test_rcu]=] "/work/wt/vm/build-tsan/tests/unit_test_rcu")
set_tests_properties([=[unit.test_rcu]=] PROPERTIES  ENVIRONMENT "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1;ASAN_OPTIONS=abort_on_error=0:detect_stack_use_after_return=0;UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1;" SKIP_RETURN_CODE "77" _BACKTRACE_TRIPLES "/work/wt/vm/scripts/cmake/HostheapTest.cmake;59;add_test;/work/wt/vm/tests/CMakeLists.txt;13;hh_test;/work/wt/vm/tests/CMakeLists.txt;0;")
add_test([=[unit.test_region_map]=] "/work/wt/vm/build-tsan/tests/unit_test_region_map")
set_tests_properties([=[unit.test_region_map]=] PROPERTIES  ENVIRONMENT "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1;ASAN_OPTIONS=abort_on_error=0:detect_stack_use_after_return=0;UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1;" SKIP_RETURN_CODE "77" _BACKTRACE_TRIPLES "/work/wt/vm/scripts/cmake/HostheapTest.cmake;59;add_test;/work/wt/vm/tests/CMakeLists.txt;14;hh_test;/work/wt/vm/tests/CMakeLists.txt;0;")
