"""What the report makes of the tables of a study, for its page, sentences and figures."""
