# Empty dependencies file for unit_test_rcu.
# This may be replaced when dependencies are built.
