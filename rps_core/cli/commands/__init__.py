"""The commands by topic: parse, call one function, print. Bodies hold the imports."""
