"""How each framework trains: the steps that the loop in `training` calls."""
