"""The command line: `freshet up`, `freshet demo`, the client of a server, and each service in the foreground."""
