"""Plausible bugs, planted one at a time, to see what catches each: the nets are only worth what they hold."""
