"""Programs as graphs: traced once, checked, saved, and run without their functions."""
