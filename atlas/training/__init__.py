"""Training: heads on cached bottlenecks."""
