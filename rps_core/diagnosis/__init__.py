"""Why a session is as it is: causes, and the rules that find them. Pure."""
