"""Names to objects: the only room that knows both the keys and the classes they stand for."""
