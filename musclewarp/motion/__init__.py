"""What people did: recordings read into `Motion`, and the bodies that give them joints."""
