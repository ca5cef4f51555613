"""Add an operation of each sort to ami, from outside."""
