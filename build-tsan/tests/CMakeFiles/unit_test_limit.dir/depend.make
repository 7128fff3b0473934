# Empty dependencies file for unit_test_limit.
# This may be replaced when dependencies are built.
