"""Foreign files to grey pixels and mm per pixel, in a worker process."""
