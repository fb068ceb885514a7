"""Fine-tuning: the backbone and the head trained together on pixels, labelled and unlabelled."""
