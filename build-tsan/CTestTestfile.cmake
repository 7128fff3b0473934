# CMake generated Testfile for 
# Source directory: /work/wt/vm
# Build directory: /work/wt/vm/build-tsan
# 
# This file includes the relevant testing commands required for 
# testing this directory and lists subdirectories to be tested as well.
subdirs("tests")
