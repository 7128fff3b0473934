# Empty dependencies file for hostheap_static.
# This may be replaced when dependencies are built.
