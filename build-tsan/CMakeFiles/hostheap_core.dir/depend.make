# Empty dependencies file for hostheap_core.
# This may be replaced when dependencies are built.
