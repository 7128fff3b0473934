# Empty compiler generated dependencies file for unit_test_bits.
# This may be replaced when dependencies are built.
