"""What would have been under another matching."""
