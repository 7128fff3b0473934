file(REMOVE_RECURSE
  "libhostheap.a"
  "libhostheap.pdb"
)

# Per-language clean rules from dependency scanning.
foreach(lang C)
  include(CMakeFiles/hostheap_static.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
