# Empty dependencies file for unit_test_options.
# This may be replaced when dependencies are built.
