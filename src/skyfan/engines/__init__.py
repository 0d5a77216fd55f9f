"""Where tasks run. An engine runs functions that it knows nothing about."""
