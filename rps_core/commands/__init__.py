"""The commands, by theme: parse, call one function, print. Imports live in the bodies."""
