"""The PBS family: Torque, PBS Pro and OpenPBS."""
