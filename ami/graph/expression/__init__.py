"""What an expression is: read it, check it, compute it."""
