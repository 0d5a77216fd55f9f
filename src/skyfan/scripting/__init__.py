"""Run a user's own script, each in a box of its own: started, watched, ended with all that it started."""
