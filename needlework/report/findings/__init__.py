"""What a study found, in sentences whose every number is a cell of a table."""
