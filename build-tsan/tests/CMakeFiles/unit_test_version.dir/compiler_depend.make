# Empty compiler generated dependencies file for unit_test_version.
# This may be replaced when dependencies are built.
