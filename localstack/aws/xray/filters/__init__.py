"""Filter expressions: what they say, what they become in SQL, and the groups that are named ones."""
