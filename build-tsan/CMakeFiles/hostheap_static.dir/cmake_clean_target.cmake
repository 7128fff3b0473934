file(REMOVE_RECURSE
  "libhostheap.a"
)
