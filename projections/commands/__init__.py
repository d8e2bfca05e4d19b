"""The command line of reads."""
