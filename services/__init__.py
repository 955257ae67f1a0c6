"""The services of Stagedoor, one folder each, all with the same rooms."""
