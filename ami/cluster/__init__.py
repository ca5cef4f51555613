"""What a node runs on: Redis servers, supervisord, and the processes that it keeps."""
