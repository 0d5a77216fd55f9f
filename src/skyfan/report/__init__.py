"""The report of runs: one page that a person can read who has never seen skyfan."""
