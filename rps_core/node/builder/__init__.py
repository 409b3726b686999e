"""Build environments from a recipe: on the login node for the launcher, in the job for the agent.

Standard library, Python 3.6: it is packed into the agent's archive.
"""
