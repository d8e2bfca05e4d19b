"""What an operator asks for, and a worker does."""
