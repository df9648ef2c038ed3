"""Where the parts are joined: the batch API, the two tasks, the local stack."""
