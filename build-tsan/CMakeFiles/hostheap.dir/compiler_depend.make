# Empty compiler generated dependencies file for hostheap.
# This may be replaced when dependencies are built.
