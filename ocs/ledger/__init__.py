"""Who has how much, and what is set aside? Pure decisions; `db` makes them durable."""
