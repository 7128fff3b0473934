# Empty dependencies file for unit_test_region_map.
# This may be replaced when dependencies are built.
