"""The rules: each finds what follows, lets it happen on a draft, or refuses before anything has happened."""
