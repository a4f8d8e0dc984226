"""What command lines share: their options, run folders, the record that repeats a sample."""
