"""Import, patch and undo in every order; and every function of ours raising in turn."""
