"""The command line: commands, options, help, completion, man page."""
