"""What can be wrong with a machine: independent checks, run in a process of their own that may fall over."""
