"""OLTs and ONUs: hardware, ports, lives, and the calls on them."""
