"""Fine-tuning on rendered examples."""
