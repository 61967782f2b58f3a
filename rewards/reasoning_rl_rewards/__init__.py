"""Built-in rewards, registered through the same entry-point group as anyone's."""
