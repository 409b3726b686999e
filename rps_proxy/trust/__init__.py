"""The browsers' stores of trusted CAs: of this user, on this machine."""
