"""What is kept on disk of sessions: records, directories, the store of all."""
