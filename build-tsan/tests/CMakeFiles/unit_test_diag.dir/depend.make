# Empty dependencies file for unit_test_diag.
# This may be replaced when dependencies are built.
