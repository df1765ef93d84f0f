"""Suite definitions: tasks x datasets under chosen protocols, as YAML that is typed when read."""
