"""How steps are wired: the alignment run, its arguments, compiling it, running it locally."""
