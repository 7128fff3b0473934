file(REMOVE_RECURSE
  "libhostheap.pdb"
  "libhostheap.so"
  "libhostheap.so.0.1.0"
  "libhostheap.so.1"
)

# Per-language clean rules from dependency scanning.
foreach(lang C)
  include(CMakeFiles/hostheap.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
