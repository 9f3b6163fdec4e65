"""What may be lost: news between daemons. The truth is in the database."""
