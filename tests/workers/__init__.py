"""Worker processes as operators run them: real processes on real servers."""
