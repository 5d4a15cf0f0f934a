"""ONU software images."""
