"""Programs that publish, serve and play, each as a process that ends by its own id."""
