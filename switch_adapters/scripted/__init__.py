"""A switch that plays a script: speaks the switch side of our doors over real sockets."""
