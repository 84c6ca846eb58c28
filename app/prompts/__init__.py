"""Prompt templates and wildcard lists of users, private or shared with everyone. The package stands beside `catalog` and `library`
in the order of imports: `generation` reads it, and it knows nothing of jobs."""
