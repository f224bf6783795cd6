"""What is done to a target, the consent it needs, and the journal that undoes it."""
