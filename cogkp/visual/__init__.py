"""Pictures as arrays; opens no window."""
