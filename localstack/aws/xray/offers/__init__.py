"""What is offered of each member of each operation, and the page of documentation that is made of it."""
