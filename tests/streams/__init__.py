"""Tests of the streaming client, and the raw server and bodies that they share."""
